"""Pieces of a prompt as the sequence that is evaluated.

Every piece is tokenised by itself, so no token depends on what comes later: a conversation's
tokens begin with those of every conversation it continues.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Protocol

from llmagic.errors import ProjectorError
from llmagic.prompt.images import Picture
from llmagic.prompt.parts import ImagePart, ReplyPart
from llmagic.prompt.template import Content, Mark, Markup, Piece
from llmagic.recent import Recent
from llmagic.sequence import CHUNK, Boundary, Media, Sequence, Span, Text
from llmagic.vector import Vector


class Tokenizer(Protocol):
    """A model's vocabulary."""

    @property
    def bos(self) -> int | None:
        """The token a sequence begins with, if the vocabulary has one."""

    @property
    def add_bos(self) -> bool:
        """Whether the model wants it there when the template does not write it."""

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Tokens of a text that UTF-8 can encode, NUL included; none is added around them.

        `special`: whether the spelling of a special token is that token, or the letters it shows.
        """


class Placer(Protocol):
    """A projector, as far as a prompt needs one."""

    def place(self, picture: Picture) -> tuple[Span, ...]:
        """What stands in a sequence for a picture, with the tokens around it."""


@dataclass(frozen=True)
class Tokenised:
    """Pieces that were made a sequence of.

    `ends` is for each piece the number of spans at its end.
    """

    pieces: Vector[Piece] = field(default_factory=Vector)
    spans: Vector[Span] = field(default_factory=Vector)
    ends: Vector[int] = field(default_factory=Vector)
    sequence: Sequence | None = None

    def until(self, n: int) -> tuple[Vector[Span], Vector[int]]:
        """Spans and ends of the first `n` pieces, or of fewer.

        A mark belongs to the span before it, which is made anew where a mark came off.
        """
        last = self.ends[n - 1] if n else 0
        behind = takewhile(lambda at: self.ends[at] == last, range(n, len(self.pieces)))
        if any(isinstance(self.pieces[at], Mark) for at in behind):
            while n and self.ends[n - 1] == last:
                n -= 1
        return self.spans.first(self.ends[n - 1] if n else 0), self.ends.first(n)


def sequence(
    pieces: Iterable[Piece],
    tokenizer: Tokenizer,
    placer: Placer | None,
    *,
    seed: bytes,
    chunk: int = CHUNK,
    recent: Recent[Tokenised] | None = None,
) -> Sequence:
    """The sequence of a rendered conversation.

    Template text is tokenised with special tokens, content without; a reply is the tokens that
    were generated; a lone surrogate in a text becomes U+FFFD. The sequence begins with exactly
    one BOS token if the model wants one or the template wrote any. A mark is a boundary of the
    span before it, unless that one has another already.

    Parameters
    ----------
    pieces : iterable of Piece
    tokenizer : Tokenizer
    placer : Placer or None
        None: the model has no projector.
    seed : bytes
        The fingerprint, on which all digests are built.
    chunk : int
        Tokens evaluated at once.
    recent : Recent, optional
        Goes on from what was made with the same of everything else, and keeps this.

    Raises
    ------
    ProjectorError
        A picture, and no projector.
    """
    pieces = Vector(pieces)
    recent = Recent() if recent is None else recent
    n, nearest = recent.nearest(pieces)
    known = nearest or Tokenised()
    spans, ends = known.until(n)
    new: list[Span] = []
    new_ends: list[int] = []
    for piece in pieces[len(ends) :]:
        if isinstance(piece, Mark):
            if not new and spans:
                new, spans = [spans[-1]], spans.first(len(spans) - 1)
            if new and new[-1].boundary is None:
                new[-1] = replace(new[-1], boundary=piece.boundary)
        else:
            found = _spans(piece, tokenizer, placer)
            new += found if new or spans or not found else _with_bos(found, tokenizer)
        new_ends.append(len(spans) + len(new))
    spans, ends = spans.plus(new), ends.plus(new_ends)
    made = Sequence(spans or Vector(_with_bos([], tokenizer)), chunk, seed)
    if known.sequence is not None:
        made.like(known.sequence)
    recent.keep(pieces, Tokenised(pieces, spans, ends, made))
    return made


def _spans(piece: Markup | Content, tokenizer: Tokenizer, placer: Placer | None) -> list[Span]:
    """What stands in a sequence for a piece."""
    if isinstance(piece, Markup):
        return _text(tokenizer, piece.text, special=True)
    if isinstance(piece.part, ReplyPart):
        tokens = piece.part.tokens
        return [Text(tokens, not piece.moved, Boundary.REPLY)] if tokens else []
    if isinstance(piece.part, ImagePart):
        return _image(placer, piece.part.picture)
    return _text(tokenizer, piece.part.text, special=False)


def _text(tokenizer: Tokenizer, text: str, *, special: bool) -> list[Span]:
    tokens = tokenizer.tokenize(_encodable(text), special=special) if text else []
    return [Text(tuple(tokens))] if tokens else []


def _encodable(text: str) -> str:
    # A pair of surrogates, as JSON writes it, is a character; one alone is not.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _image(placer: Placer | None, picture: Picture) -> list[Span]:
    if placer is None:
        raise ProjectorError(
            "expected a model with a projector for the pictures of this conversation, and this one "
            "was loaded without. Load it with one (`%llm load MODEL --projector MMPROJ`), take the "
            "picture out of the prompt, or, if it stands above, ask without it (--fresh, --thread)."
        )
    spans = list(placer.place(picture))
    last = max((i for i, span in enumerate(spans) if isinstance(span, Media)), default=None)
    if last is not None:
        spans[last] = replace(spans[last], boundary=Boundary.IMAGE)
    return spans


def _with_bos(spans: list[Span], tokenizer: Tokenizer) -> list[Span]:
    """The spans with one BOS at the beginning: template and model may both have put theirs."""
    bos = tokenizer.bos
    if bos is None:
        return spans
    first = spans[0] if spans else None
    if not isinstance(first, Text) or first.reply or first.tokens[0] != bos:
        return [Text((bos,)), *spans] if tokenizer.add_bos else spans
    rest = next((i for i, token in enumerate(first.tokens) if token != bos), len(first.tokens))
    return [replace(first, tokens=(bos, *first.tokens[rest:])), *spans[1:]]
