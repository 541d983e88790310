"""What a model evaluates: text, replies and images, in tokens and positions.

Number of tokens and next position are two things (llama.cpp pull request 19849): under M-RoPE a
512 px image fills 256 cells of the cache and moves the position by 16. Every span carries both,
and nothing here turns one into the other by arithmetic.

A sequence also says how it is evaluated. Cutting a batch elsewhere moves the logits, so it is
always cut at the same *places*: on both sides of an image, at every boundary, and every `chunk`
tokens after one; a reply goes token by token, as it was generated.
"""

from __future__ import annotations

import enum
import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from llmagic.vector import Vector

CHUNK = 128
"""Tokens evaluated at once after a boundary. Part of the fingerprint: it moves the logits."""

CHUNKS_PER_SAVE = 16
"""Chunks of one long text after which there is a boundary all the same: whoever interrupts or edits
a text of 20,000 tokens should not begin again."""


class Boundary(enum.StrEnum):
    """Where a later cell may want to resume (DESIGN D4)."""

    TEXT = "text"
    """Inside a long text, every `CHUNKS_PER_SAVE` chunks."""
    SYSTEM = "system"
    IMAGE = "image"
    USER = "user"
    REPLY = "reply"


@dataclass(frozen=True)
class Text:
    """A run of text tokens; `tokens` and positions are the same number.

    `reply` says that the tokens were generated: they are evaluated one by one.
    """

    tokens: tuple[int, ...]
    reply: bool = False
    boundary: Boundary | None = None

    @property
    def n_tokens(self) -> int:
        return len(self.tokens)

    @property
    def n_positions(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Media:
    """One image, or one slice of one, as the language model sees it; never cut.

    `digest` (bytes) names the canonical pixels, the slice and what places it (the projector's file,
    the size of images); what else changes the embedding belongs to a sequence's `seed`. `handle` is
    whatever the projector needs to encode it.
    """

    digest: bytes
    n_tokens: int
    n_positions: int
    boundary: Boundary | None = None
    handle: object = field(default=None, compare=False, repr=False)


Span = Text | Media


@dataclass(frozen=True)
class Step:
    """One thing to evaluate: up to `chunk` text tokens, one image, or one whole reply.

    `key` names everything evaluated up to the end of this step *and* where it was cut: equal keys
    mean equal arithmetic. `content` names the tokens and images alone.
    Offsets are in tokens, positions in positions; both are given before and after the step.
    `images` are those up to its end. The key is seeded with the model's fingerprint, the content is
    not.
    """

    span: Span
    start: int
    stop: int
    position: int
    next_position: int
    key: bytes
    content: bytes
    boundary: Boundary | None
    images: int

    def bare(self) -> Step:
        """The step to be remembered: without the picture, which is large."""
        if isinstance(self.span, Media) and self.span.handle is not None:
            return replace(self, span=replace(self.span, handle=None))
        return self

    @property
    def n_tokens(self) -> int:
        return self.stop - self.start

    @property
    def n_positions(self) -> int:
        return self.next_position - self.position


class ContentHash:
    """Digest of tokens and images that does not depend on how they were split into spans."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16, person=b"llmagic-content1")

    def update(self, span: Span) -> None:
        """Add what follows."""
        # Every item is a fixed-size tag and value, so no two sequences share their bytes.
        if isinstance(span, Media):
            sizes = np.array([span.n_tokens, span.n_positions], "<u8").tobytes()
            self._hash.update(b"\xff\xff\xff\xff" + hashlib.sha256(span.digest + sizes).digest())
        else:
            self._hash.update(np.asarray(span.tokens, "<u4").tobytes())

    def copy(self) -> ContentHash:
        """Another one of the same content, to go on with."""
        other = ContentHash()
        other._hash = self._hash.copy()
        return other

    def digest(self) -> bytes:
        """Digest (16 bytes) of what was added so far."""
        return self._hash.copy().digest()


def _key(previous: bytes, span: Span) -> bytes:
    hash_ = hashlib.blake2b(previous, digest_size=16, person=b"llmagic-key-0001")
    if isinstance(span, Media):
        hash_.update(b"media" + np.array([span.n_tokens, span.n_positions], "<u8").tobytes())
        hash_.update(span.digest)
    else:
        hash_.update(b"reply" if span.reply else b"text_")
        # At a boundary a sliding window is put back into place, which moves what follows.
        hash_.update(b"|" if span.boundary is not None else b" ")
        hash_.update(np.asarray(span.tokens, "<u4").tobytes())
    return hash_.digest()


def scattered(key: bytes) -> bytes:
    """Key of the same state, to be continued among the cells of other branches.

    Attention sums over cells in their order, so what follows is not bit for bit what it would be
    alone, and must not be found as if it were.
    """
    return hashlib.blake2b(key, digest_size=16, person=b"llmagic-scatter1").digest()


def until(steps: Iterable[Step], stop: int) -> list[Step]:
    """The steps that make up the first `stop` tokens; text is split where it must be."""
    kept: list[Step] = []
    for step in steps:
        if step.stop <= stop:
            kept.append(step)
        elif step.start < stop and isinstance(step.span, Text):
            span = Text(step.span.tokens[: stop - step.start], reply=step.span.reply)
            # It was evaluated with what came after it, so it must not be found as if by itself.
            key = scattered(_key(kept[-1].key if kept else b"", span))
            kept.append(
                replace(
                    step,
                    span=span,
                    stop=stop,
                    next_position=step.position + span.n_positions,
                    key=key,
                    content=key,
                    boundary=None,
                )
            )
        else:
            break
    return kept


@dataclass(frozen=True, init=False)
class Sequence:
    """Spans in order. Immutable; two sequences with equal content have equal digests.

    `seed` is the fingerprint of the model and its settings: it is part of every step's key.
    """

    spans: Vector[Span]
    chunk: int = CHUNK
    seed: bytes = b""

    def __init__(self, spans: Iterable[Span], chunk: int = CHUNK, seed: bytes = b"") -> None:
        object.__setattr__(self, "spans", Vector(spans))
        object.__setattr__(self, "chunk", chunk)
        object.__setattr__(self, "seed", seed)

    @cached_property
    def root(self) -> bytes:
        """Key of nothing evaluated yet."""
        return hashlib.blake2b(self.seed, digest_size=16).digest()

    @property
    def n_tokens(self) -> int:
        return self.steps[-1].stop if self.steps else 0

    @property
    def n_positions(self) -> int:
        return self.steps[-1].next_position if self.steps else 0

    @property
    def n_images(self) -> int:
        """Images; one that was cut into slices counts once."""
        return self.steps[-1].images if self.steps else 0

    @cached_property
    def digest(self) -> bytes:
        """Digest of the whole content (16 bytes)."""
        return self.steps[-1].content if self.steps else ContentHash().digest()

    @property
    def steps(self) -> Vector[Step]:
        """How the sequence is evaluated from nothing."""
        return self._walk.steps

    @cached_property
    def _walk(self) -> _Walk:
        return _walked(self.spans, self.chunk, self.root, _Walk(), 0)

    def like(self, other: Sequence) -> Sequence:
        """The sequence itself; what it begins with like another one is not hashed again."""
        if (self.chunk, self.seed) == (other.chunk, other.seed):
            n = self.spans.shared(other.spans)
            walk = _walked(self.spans, self.chunk, self.root, other._walk, n)
            # As the property would have found it.
            self.__dict__["_walk"] = walk
        return self

    def index_after(self, start: int) -> int:
        """Index of the first step that ends after `start` tokens."""
        return bisect_right(self.steps, start, key=lambda step: step.stop)

    def with_replies_as_text(self, start: int) -> Sequence:
        """The same content with every reply from token `start` on evaluated like a prompt.

        That is what happens to a reply whose checkpoint is gone: token by token would take as
        long as it took to generate it.
        """
        left = self.steps[self.index_after(start) :]
        if not any(isinstance(step.span, Text) and step.span.reply for step in left):
            return self
        spans: list[Span] = []
        at = 0
        for span in self.spans:
            if isinstance(span, Text) and span.reply and at + span.n_tokens > start:
                span = replace(span, reply=False)
            spans.append(span)
            at += span.n_tokens
        return Sequence(spans, self.chunk, self.seed).like(self)

    def reply_step(self, tokens: Iterable[int], key: bytes | None = None) -> Step | None:
        """The step of a reply generated after this sequence; None if empty.

        `key` is what the sequence was evaluated as, by default as from nothing.
        """
        if key is None:
            key = self.steps[-1].key if self.steps else self.root
        span = Text(tuple(tokens), reply=True, boundary=Boundary.REPLY)
        if not span.tokens:
            return None
        hashes = self._walk.hashes
        content = hashes[-1].copy() if hashes else ContentHash()
        content.update(span)
        start, position = self.n_tokens, self.n_positions
        return Step(
            span,
            start,
            start + span.n_tokens,
            position,
            position + span.n_positions,
            _key(key, span),
            content.digest(),
            span.boundary,
            self.n_images,
        )

    def steps_after(self, start: int, key: bytes) -> list[Step]:
        """What is left to evaluate after the first `start` tokens, which were evaluated as `key`.

        Replies among it go like a prompt. Where `start` is no place an evaluation from nothing
        would have cut at, the text around it is split.
        """
        steps: list[Step] = []
        whole = self.with_replies_as_text(start)
        for step in whole.steps[whole.index_after(start) :]:
            if step.start < start and isinstance(step.span, Text):
                span = replace(step.span, tokens=step.span.tokens[start - step.start :])
                position = step.next_position - span.n_positions
                step = replace(step, span=span, start=start, position=position)
            key = _key(key, step.span)
            steps.append(replace(step, key=key))
        return steps

    def extended(self, spans: Iterable[Span]) -> Sequence:
        """The same with more spans after it."""
        return Sequence(self.spans.plus(spans), self.chunk, self.seed).like(self)


@dataclass(frozen=True)
class _Walk:
    """A sequence as it is evaluated: neighbouring text joined up to a boundary, then chunked.

    `hashes` are those of the content up to the end of each step, to go on with; `ends` is for
    each span the number of steps at its end, -1 where text after it belongs to the same step.
    """

    steps: Vector[Step] = field(default_factory=Vector)
    hashes: Vector[ContentHash] = field(default_factory=Vector)
    ends: Vector[int] = field(default_factory=Vector)


def _walked(spans: Vector[Span], chunk: int, root: bytes, known: _Walk, n: int) -> _Walk:
    """Walk over spans, the first `n` of which were walked with the same chunk and root."""
    while n and known.ends[n - 1] < 0:
        n -= 1
    done = known.ends[n - 1] if n else 0
    before = known.steps[done - 1] if done else None
    hashed = known.hashes[done - 1] if done else ContentHash()
    steps: list[Step] = []
    hashes: list[ContentHash] = []
    ends: list[int] = []
    pending: list[int] = []

    def add(piece: Span) -> None:
        last = steps[-1] if steps else before
        key = _key(last.key if last else root, piece)
        content = (hashes[-1] if hashes else hashed).copy()
        content.update(piece)
        start, position, images = (
            (last.stop, last.next_position, last.images) if last else (0, 0, 0)
        )
        steps.append(
            Step(
                piece,
                start,
                start + piece.n_tokens,
                position,
                position + piece.n_positions,
                key,
                content.digest(),
                piece.boundary,
                images + (piece.boundary is Boundary.IMAGE),
            )
        )
        hashes.append(content)

    def flush(boundary: Boundary | None) -> None:
        for at in range(0, len(pending), chunk):
            last = at + chunk >= len(pending)
            save = (at // chunk + 1) % CHUNKS_PER_SAVE == 0
            inside = Boundary.TEXT if save else None
            add(Text(tuple(pending[at : at + chunk]), boundary=boundary if last else inside))
        pending.clear()

    for span in spans[n:]:
        if isinstance(span, Text) and not span.reply:
            pending.extend(span.tokens)
            if span.boundary is not None:
                flush(span.boundary)
        else:
            flush(None)
            if span.n_tokens:
                add(span)
        ends.append(-1 if pending else done + len(steps))
    flush(None)
    return _Walk(
        known.steps.first(done).plus(steps),
        known.hashes.first(done).plus(hashes),
        known.ends.first(n).plus(ends),
    )


def common_prefix(left: Sequence, right: Sequence) -> int:
    """Tokens that two sequences share from the start on, never ending inside an image.

    Compares content, not keys: where the sequences were cut does not matter.
    """
    a, b = _items(left), _items(right)
    shared = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        shared += 1 if isinstance(x, int) else x[1]
    return shared


def _items(sequence: Sequence) -> Iterator[int | tuple[bytes, int, int]]:
    for span in sequence.spans:
        if isinstance(span, Text):
            yield from span.tokens
        else:
            yield (span.digest, span.n_tokens, span.n_positions)
