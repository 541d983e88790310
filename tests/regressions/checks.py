"""Asking, and checks that share nothing with what they check; `tests/faults` uses them, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from llmagic.checkpoint.payload import Payloads
from llmagic.checkpoint.tree import Node
from llmagic.model.context import Context
from llmagic.model.vision import Embedding, Projector
from llmagic.prompt.images import Picture, picture
from llmagic.prompt.parts import ImagePart, Part, TextPart
from llmagic.sequence import Boundary, Media, Sequence, Span, Step
from llmagic.session import Session, Turn
from tests.oracle import Logits, sequence_of

Pixels = npt.NDArray[np.uint8]
Opens = Callable[..., Session]
"""`open_session(toy, **loading)`; keyword arguments are fields of `Loading`."""

SEES = ("gemma3", "qwen2vl", "qwen35")
NO_CUTTING = ("gemma3", "qwen35", "mamba2")
"""Toys that only a saved state takes back."""

LONG = "Tell me what the first image shows, and the second, and then the one after it. " * 5
"""More than 128 tokens: more than a chunk, and than the window of gemma3."""


# Asking ---------------------------------------------------------------------------------------


def noise(seed: int, height: int = 96, width: int = 96) -> Pixels:
    """A picture unlike any other."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def parts(*items: str | Pixels) -> list[Part]:
    """A prompt: words and pictures in order."""
    return [TextPart(item) if isinstance(item, str) else ImagePart(picture(item)) for item in items]


def ask(session: Session, *items: str | Pixels, n: int = 4, **settings: Any) -> Turn:
    """Ask for `n` tokens, always the most likely ones."""
    return session.ask(parts(*items), temperature=0, max_tokens=n, **settings)


def forget_live(session: Session) -> None:
    """Leave only what is stored: the next turn must be restored from memory."""
    session.engine.checkpoints.branches.drop_all()


def forget_embeddings(session: Session) -> None:
    """Every image that is evaluated again must be encoded again."""
    if session.engine.projector is not None:
        session.engine.projector._embeddings.clear()


# What a turn cost ----------------------------------------------------------------------------


def restored(turn: Turn) -> int:
    return int(turn.usage["restored"]["tokens"])


def evaluated(turn: Turn) -> int:
    return int(turn.usage["evaluated"]["tokens"])


def images(turn: Turn) -> tuple[int, int]:
    """Images the language model evaluated, and runs of the encoder."""
    return turn.usage["evaluated"]["images"], turn.usage["encoded"]["images"]


def prompt(turn: Turn) -> int:
    """Tokens of everything before the reply."""
    return int(turn.usage["prompt"]["tokens"])


def end(turn: Turn) -> int:
    """Tokens up to the end of the reply."""
    return prompt(turn) + len(turn.tokens)


def stops(session: Session, turn: Turn, boundary: Boundary) -> list[int]:
    """Tokens up to each boundary of a kind in what stands before a reply."""
    steps = sequence_of(session, turn, with_reply=False).steps
    return [step.stop for step in steps if step.boundary is boundary]


# What is right -------------------------------------------------------------------------------


def assert_right(session: Session, turn: Turn) -> None:
    """The reply that was just given, and the state after it, are those of a cold evaluation.

    A reply above that had to be evaluated again went like a prompt and the usage says so; the
    cold evaluation is cut in the same places then.
    """
    usage = turn.usage
    assert prompt(turn) == restored(turn) + evaluated(turn)
    assert usage["prompt"]["images"] == usage["restored"]["images"] + usage["evaluated"]["images"]
    assert_holds(session, turn)
    (branch,) = session.engine.checkpoints.branches
    context = session.engine.context
    assert context is not None
    with forgetful(session):
        held = sequence_of(session, turn)
        assert context.end(branch.sequence) == held.n_positions - 1
        if usage["exact"]:
            assert [step.span for step in branch.steps] == [step.span for step in held.steps]
        wanted, first = cold(session, branch.steps, media_of(held), look=prompt(turn))
    got = context.logits()
    assert np.array_equal(got, wanted), f"logits are off by {np.abs(got - wanted).max():.3g}"
    if turn.tokens:
        assert turn.tokens[0] == int(first.argmax())


def assert_nearly_right(session: Session, turn: Turn) -> None:
    """The same where other branches are in the context, whose cells move the last bits."""
    assert_holds(session, turn)
    context = session.engine.context
    assert context is not None
    with forgetful(session):
        held = sequence_of(session, turn)
        wanted, _ = cold(session, held.steps, media_of(held))
    assert np.abs(context.logits() - wanted).max() <= 1e-2 * np.ptp(wanted)


def assert_holds(session: Session, turn: Turn) -> None:
    """The branch in use says what the turn says, in the same order."""
    branch = max(session.engine.checkpoints.branches, key=lambda branch: branch.used)
    with forgetful(session):
        held = sequence_of(session, turn)
    assert branch.end is not None
    assert branch.n_tokens == held.n_tokens
    assert branch.end.content == held.digest


def assert_stored_right(session: Session, but: Iterable[bytes] = ()) -> set[bytes]:
    """Every checkpoint, put into an empty context, is where its steps lead from nothing.

    Returns the keys of those looked at; `but` are those that need no second look.
    """
    engine = session.engine
    done = set(but)
    nodes = [node for node in engine.checkpoints.tree if node.key not in done]
    placed = engine.projector._placed.values() if engine.projector is not None else ()
    media = {span.digest: span for spans in placed for span in spans if isinstance(span, Media)}
    for node in nodes:
        steps = [step for each in node.path() for step in each.steps]
        pictures = [media[step.span.digest] for step in steps if isinstance(step.span, Media)]
        wanted, _ = cold(session, steps, pictures, probe=True)
        right = np.array_equal(put(session, node), wanted)
        assert right, f"the checkpoint after {node.stop} tokens is wrong"
    return {node.key for node in nodes}


class _Forgetful:
    """A projector that places and encodes every image anew, from its pixels."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self.evaluate = projector.evaluate

    def place(self, image: Picture) -> tuple[Span, ...]:
        return self._projector._spans(image, self._projector._chunks(image))

    def encode(self, media: Media) -> tuple[Embedding, bool]:
        self._projector._embeddings.clear()
        return self._projector.encode(media)


@contextmanager
def forgetful(session: Session) -> Iterator[None]:
    """While a cold evaluation runs: an image taken for another one must not fool it, too."""
    engine = session.engine
    projector = engine.projector
    if projector is None:
        yield
        return
    embeddings = projector._embeddings.copy()
    engine.projector = _Forgetful(projector)  # type: ignore[assignment]
    try:
        yield
    finally:
        engine.projector = projector
        projector._embeddings.clear()
        projector._embeddings.update(embeddings)


def media_of(sequence: Sequence) -> list[Media]:
    return [span for span in sequence.spans if isinstance(span, Media)]


PROBE = 65
"""A token to evaluate after a state, so that it shows in logits."""


@contextmanager
def _context(session: Session) -> Iterator[tuple[Context, Payloads]]:
    engine = session.engine
    assert engine.context is not None
    context = Context(engine.model, engine.context.shape)
    try:
        yield context, Payloads(context, engine.model.memory, engine.verdict.layout, scratch=1)
    finally:
        context.close()


def put(session: Session, node: Node) -> Logits:
    """Logits of the probe behind a checkpoint in a context of its own."""
    with _context(session) as (context, payloads):
        payloads.put(0, [each.payload for each in node.path()], node.payload)
        context.evaluate([PROBE], node.steps[-1].next_position, 0, logits=True)
        return context.logits()


def cold(
    session: Session,
    steps: Iterable[Step],
    media: Iterable[Media],
    *,
    look: int = 0,
    probe: bool = False,
) -> tuple[Logits, Logits]:
    """Logits after the last step (or the probe behind it), and after `look` tokens.

    Nothing is restored. `media` are the images in order, with their pixels: steps have none.
    """
    projector, pictures = session.engine.projector, iter(media)
    first: Logits = np.empty(0, np.float32)
    with _context(session) as (context, payloads):
        position = 0
        for step in steps:
            span, position = step.span, step.next_position
            if isinstance(span, Media):
                assert projector is not None
                picture = next(pictures)
                assert picture == span
                embedding, _ = projector.encode(picture)
                projector.evaluate(context, picture, embedding, step.position, 0)
            elif span.reply:
                for index, token in enumerate(span.tokens):
                    context.evaluate([token], step.position + index, 0, logits=True)
            else:
                context.evaluate(span.tokens, step.position, 0, logits=True)
            if step.boundary is not None:
                payloads.settle(0, position)
            if step.stop == look:
                first = context.logits()
        if probe:
            context.evaluate([PROBE], position, 0, logits=True)
        return context.logits(), first
