"""Sequences of any kind, and what is said of them the slow and simple way."""

from __future__ import annotations

from hypothesis import strategies as st

from llmagic.sequence import (
    CHUNKS_PER_SAVE,
    Boundary,
    ContentHash,
    Media,
    Sequence,
    Span,
    Step,
    Text,
)

CAT = Media(b"cat", 4, 4, Boundary.IMAGE)
DOG = Media(b"dog", 6, 2, Boundary.IMAGE)  # M-RoPE: fewer positions than tokens
CAT_AGAIN = Media(b"cat", 6, 2, Boundary.IMAGE)  # the same pixels at another size
MEDIA = (CAT, DOG, CAT_AGAIN)

Item = int | Media

# Few tokens and a short chunk, so that prefixes agree and cuts fall everywhere.
items = st.lists(st.one_of(st.integers(0, 2), st.sampled_from(MEDIA)), max_size=30)
chunks = st.integers(1, 9)


@st.composite
def splits(draw: st.DrawFn, content: list[Item], *, replies: bool = True) -> tuple[Span, ...]:
    """Spans that hold `content`, split anywhere, some of them replies, with any boundaries."""
    spans: list[Span] = []
    run: list[int] = []
    boundaries = st.sampled_from([None, None, Boundary.USER, Boundary.SYSTEM])

    def end() -> None:
        if run:
            reply = replies and draw(st.booleans())
            boundary = Boundary.REPLY if reply else draw(boundaries)
            spans.append(Text(tuple(run), reply, boundary))
            run.clear()

    for item in content:
        if isinstance(item, Media):
            end()
            spans.append(item)
        else:
            run.append(item)
            if draw(st.booleans()):
                end()
    end()
    return tuple(spans)


@st.composite
def sequences(draw: st.DrawFn, *, replies: bool = True) -> Sequence:
    content = draw(items)
    return Sequence(draw(splits(content, replies=replies)), draw(chunks), b"seed")


def cells(spans: tuple[Span, ...]) -> list[object]:
    """What a cache would hold, cell by cell: a token, or the n-th cell of an image."""
    found: list[object] = []
    for span in spans:
        if isinstance(span, Text):
            found += span.tokens
        else:
            found += [
                (span.digest, span.n_tokens, span.n_positions, n) for n in range(span.n_tokens)
            ]
    return found


Piece = tuple[str, tuple[object, ...]]


def naive_pieces(spans: tuple[Span, ...], chunk: int) -> list[tuple[Piece, Boundary | None]]:
    """How a sequence is evaluated (DESIGN D3), token by token, and where it is saved (D4)."""
    pieces: list[tuple[Piece, Boundary | None]] = []
    run: list[object] = []

    def close(boundary: Boundary | None) -> None:
        n = 0
        while run:
            text, n = tuple(run[:chunk]), n + 1
            del run[:chunk]
            inside = Boundary.TEXT if n % CHUNKS_PER_SAVE == 0 else None
            pieces.append((("text", text), inside if run else boundary))

    for span in spans:
        if isinstance(span, Media) or span.reply:
            close(None)
            kind = "media" if isinstance(span, Media) else "reply"
            pieces.append(((kind, tuple(cells((span,)))), span.boundary))
        else:
            run += span.tokens
            if span.boundary is not None:
                close(span.boundary)
    close(None)
    return pieces


def piece(step: Step) -> Piece:
    kind = "media" if isinstance(step.span, Media) else "reply" if step.span.reply else "text"
    return kind, tuple(cells((step.span,)))


def evaluated(step: Step) -> tuple[Piece, bool]:
    """What decides the arithmetic of a step: a sliding window is put into place at boundaries."""
    return piece(step), step.boundary is not None


def is_meant(step: Step) -> bool:
    """Whether the conversation has a boundary here, and not only the length of its text."""
    return step.boundary not in (None, Boundary.TEXT)


def content_of(spans: tuple[Span, ...]) -> bytes:
    hash_ = ContentHash()
    for span in spans:
        hash_.update(span)
    return hash_.digest()
