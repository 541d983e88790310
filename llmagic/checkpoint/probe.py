"""Which layout restores this model exactly: tried on a few tokens, compared bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from llmagic.checkpoint.payload import Layout, Payloads
from llmagic.checkpoint.trial import Sizes, Trial
from llmagic.errors import CheckpointError, EvaluationError
from llmagic.model.context import Context, NoRoomError
from llmagic.model.loading import Memory
from llmagic.model.vision import Projector
from llmagic.sequence import Boundary, Sequence, Text

ONLY_WHOLE = {
    "deepseek4": "llama-kv-cache-dsv4.cpp:1513 GGML_ASSERT(p0 <= 0 && p1 < 0): a ranged seq_cp "
    "ends the process",
}
"""Architectures that are never asked for a range, each with the upstream line that aborts.

The list is complete for llama.cpp 0c1e57098: the other assertions on the way of the calls made
here are about sequence ids and streams, which `Context` gets right (docs/check.md)."""

N_TOKENS = 32


@dataclass(frozen=True)
class Verdict:
    """What the probe found.

    Attributes
    ----------
    layout : Layout
        The smallest layout that was exact; NONE when none was.
    bytes_per_token : float
        Bytes a checkpoint needs for each of its tokens, and the context as well; 0 where that
        could not be found out.
    state_bytes : int
        Bytes it needs beside them; of a sliding window once it is full.
    seconds : float
        Time the probe took.
    refused : tuple of (str, str)
        Layouts that were not exact, each with what went wrong.
    lacked_memory : bool
        One of them was refused since memory ran out, which says nothing about the next process.
    """

    layout: Layout
    bytes_per_token: float
    state_bytes: int
    seconds: float
    refused: tuple[tuple[str, str], ...] = ()
    lacked_memory: bool = False

    @property
    def exact(self) -> bool:
        return self.layout is not Layout.NONE


Story = tuple[Sequence, Sequence | None]
"""What a trial restores, and another of the same form to go on with (`Trial.differs`)."""


def candidates(architecture: str, memory: Memory, n_swa: int) -> list[Layout]:
    """Layouts to try for a model, the smallest first."""
    if architecture in ONLY_WHOLE:
        return [Layout.WHOLE]
    if memory.can_be_cut:
        return [Layout.DELTA, Layout.WHOLE]
    if n_swa:
        # A delta holds the window's rows among its own tokens only; those before may have left
        # the branch it is put on.
        return [Layout.SPLIT, Layout.WHOLE]
    return [Layout.SPLIT, Layout.DELTA, Layout.WHOLE]


def short_story(n_vocab: int, n_tokens: int = N_TOKENS) -> Story:
    """A few random tokens: prompts of different lengths, a reply, and one token more."""
    tokens = np.random.default_rng(0).integers(0, n_vocab, n_tokens).tolist()
    cuts = [0, n_tokens // 3, n_tokens // 2, n_tokens - 1, n_tokens]
    kinds = (Boundary.SYSTEM, Boundary.REPLY, Boundary.USER, None)
    spans = [
        Text(tuple(tokens[start:stop]), reply=kind is Boundary.REPLY, boundary=kind)
        for (start, stop), kind in zip(pairwise(cuts), kinds, strict=True)
    ]
    return Sequence(tuple(spans)), None


def probe(
    context: Context,
    memory: Memory,
    *,
    scratch: int,
    stories: Iterable[Story] = (),
    projector: Projector | None = None,
    known: Mapping[Layout, str] | None = None,
    before: Callable[[Layout], None] | None = None,
) -> Verdict:
    """Find the layout of a model in an empty context; leaves it empty.

    Parameters
    ----------
    context : Context
        The one that will be used, since its settings matter.
    memory : Memory
    scratch : int
        A sequence id for loading; 0 and 1 are used, too.
    stories : iterable of Story
        What to try beside a few random tokens; more is surer and slower.
    projector : Projector or None
        For the images among them.
    known : mapping from Layout to str
        Layouts that are refused without a trial, and why.
    before : callable, optional
        Hears which layout is tried next: a layout may end the process.

    Raises
    ------
    KeyboardInterrupt
        The context is empty then, too.
    NoRoomError
        A story does not fit the context, which says nothing about the model.
    """
    begin = time.perf_counter()
    model = context.model
    basic = short_story(model.vocabulary.n_tokens)
    refused: list[tuple[str, str]] = []
    lacked_memory = False

    def verdict(layout: Layout, sizes: Sizes) -> Verdict:
        seconds = time.perf_counter() - begin
        return Verdict(layout, sizes.per_token, sizes.state, seconds, tuple(refused), lacked_memory)

    sizes = Sizes(0.0, 0)
    for layout in candidates(model.header.architecture, memory, model.n_swa):
        reason = (known or {}).get(layout)
        sizes = Sizes(0.0, 0)
        if reason is None:
            if before is not None:
                before(layout)
            trial = Trial(Payloads(context, memory, layout, scratch), scratch, projector)
            try:
                sizes = trial.sizes(basic[0])
                reason = _reason(trial, [basic, *stories])
            except NoRoomError:
                raise
            except (CheckpointError, EvaluationError, MemoryError) as error:
                lacked_memory |= isinstance(error, MemoryError)
                reason = str(error) or "memory ran out"
            finally:
                trial.clear()
        if reason is None:
            return verdict(layout, sizes)
        refused.append((layout.value, reason))
    # Those of a whole blob, which is tried last.
    return verdict(Layout.NONE, sizes)


def _reason(trial: Trial, stories: list[Story]) -> str | None:
    for story, other in stories:
        if (reason := trial.differs(story, other)) is not None:
            return reason
    return None
