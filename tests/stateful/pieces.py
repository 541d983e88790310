"""How a sequence is evaluated, written a second time, from DESIGN D3 and not from the code.

Text is cut at every boundary and every 128 tokens after one, images stand alone, a reply goes token
by token; a reply that is evaluated again goes like a prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from llmagic.sequence import Boundary, Media, Sequence, Span, Text

CHUNK = 128


@dataclass(frozen=True)
class Piece:
    """What goes into the model at once: some text, a whole reply, or an image."""

    tokens: tuple[int, ...] = ()
    media: Media | None = None
    reply: bool = False
    boundary: Boundary | None = None

    @property
    def n_tokens(self) -> int:
        return len(self.tokens) if self.media is None else self.media.n_tokens

    @property
    def n_positions(self) -> int:
        return len(self.tokens) if self.media is None else self.media.n_positions


@dataclass(frozen=True)
class Place:
    """The end of a piece.

    `content` names the tokens and images up to here, `trail` also where they were cut.
    """

    stop: int
    content: bytes
    trail: bytes
    boundary: Boundary | None


def pieces(sequence: Sequence, restored: int | None = None) -> list[Piece]:
    """How a sequence is evaluated; after `restored` tokens, which were there, if any were.

    What was there comes first, as if it had been evaluated. Replies after it go like a prompt.
    """
    spans: list[tuple[Span, bool]] = []
    stop = 0
    for span in sequence.spans:
        stop += span.n_tokens
        by_token = isinstance(span, Text) and span.reply
        spans.append((span, by_token and (restored is None or stop <= restored)))
    return list(_split(_cut(spans), restored or 0))


def _cut(spans: Iterable[tuple[Span, bool]]) -> Iterator[Piece]:
    """Pieces of spans, each with whether it is evaluated token by token."""
    pending: list[int] = []

    def flush(boundary: Boundary | None = None) -> Iterator[Piece]:
        while pending:
            tokens = tuple(pending[:CHUNK])
            del pending[:CHUNK]
            yield Piece(tokens, boundary=None if pending else boundary)

    for span, by_token in spans:
        if isinstance(span, Media):
            yield from flush()
            yield Piece(media=span, boundary=span.boundary)
        elif by_token:
            yield from flush()
            yield Piece(span.tokens, reply=True, boundary=span.boundary)
        else:
            pending.extend(span.tokens)
            if span.boundary is not None:
                yield from flush(span.boundary)
    yield from flush()


def _split(found: Iterable[Piece], stop: int) -> Iterator[Piece]:
    """The pieces, one of which is split so that one ends after `stop` tokens."""
    start = 0
    for piece in found:
        at = stop - start
        start += piece.n_tokens
        if 0 < at < piece.n_tokens:
            assert piece.media is None
            yield Piece(piece.tokens[:at], reply=piece.reply)
            piece = replace(piece, tokens=piece.tokens[at:])
        yield piece


def places(evaluated: Iterable[Piece]) -> list[Place]:
    """The ends of pieces."""
    found: list[Place] = []
    content, trail, stop = hashlib.sha256(), hashlib.sha256(), 0
    for piece in evaluated:
        text = repr(_name(piece))
        # One token, one line: where the text was cut must not show in the content.
        content.update("".join(f"{token}\n" for token in piece.tokens).encode() or text.encode())
        trail.update(f"{piece.reply} {text}\n".encode())
        stop += piece.n_tokens
        found.append(Place(stop, content.digest(), trail.digest(), piece.boundary))
    return found


def _name(piece: Piece) -> object:
    media = piece.media
    if media is None:
        return piece.tokens
    return (media.digest.hex(), media.n_tokens, media.n_positions)


def shared(left: Iterable[Piece], right: Iterable[Piece]) -> int:
    """Tokens that two lists of pieces have in common from the start on; an image is not cut."""
    n = 0
    for one, other in zip(_items(left), _items(right), strict=False):
        if one != other:
            break
        n += 1 if isinstance(one, int) else one[1]
    return n


def _items(evaluated: Iterable[Piece]) -> Iterator[int | tuple[str, int, int]]:
    for piece in evaluated:
        if piece.media is None:
            yield from piece.tokens
        else:
            yield (piece.media.digest.hex(), piece.media.n_tokens, piece.media.n_positions)
