"""Which layout restores this model exactly: tried on a few tokens, compared bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from llmagic.checkpoint.payload import Layout, Payload, Payloads
from llmagic.errors import CheckpointError, EvaluationError
from llmagic.model.context import Context
from llmagic.model.loading import Memory
from llmagic.sequence import CHUNK

ONLY_WHOLE = {
    "deepseek4": "llama-kv-cache-dsv4.cpp:1513 GGML_ASSERT(p0 <= 0 && p1 < 0): a ranged seq_cp "
    "ends the process",
}
"""Architectures that are never asked for a range, each with the upstream line that aborts."""

LIVE, OTHER = 0, 1


@dataclass(frozen=True)
class Verdict:
    """What the probe found.

    Attributes
    ----------
    layout : Layout
        The smallest layout that was exact; NONE when none was.
    bytes_per_token : float
        Bytes a checkpoint needs for each of its tokens.
    state_bytes : int
        Bytes it needs beside them.
    seconds : float
        Time the probe took.
    refused : tuple of (str, str)
        Layouts that were not exact, each with what went wrong.
    """

    layout: Layout
    bytes_per_token: float
    state_bytes: int
    seconds: float
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def exact(self) -> bool:
        return self.layout is not Layout.NONE


def candidates(architecture: str, memory: Memory) -> list[Layout]:
    """Layouts to try for a model, the smallest first."""
    if architecture in ONLY_WHOLE:
        return [Layout.WHOLE]
    if memory.can_be_cut:
        return [Layout.DELTA, Layout.WHOLE]
    return [Layout.SPLIT, Layout.DELTA, Layout.WHOLE]


def probe(context: Context, memory: Memory, *, scratch: int, n_tokens: int = 40) -> Verdict:
    """Find the layout of a model in an empty context; leaves it empty.

    Parameters
    ----------
    context : Context
        The one that will be used, since its settings matter.
    memory : Memory
    scratch : int
        A sequence id for loading; 0 and 1 are used, too.
    n_tokens : int
        Tokens evaluated, in four pieces; more is surer and slower.
    """
    begin = time.perf_counter()
    trial = _Trial(context, memory, scratch, n_tokens)
    refused: list[tuple[str, str]] = []
    for layout in candidates(context.model.header.architecture, memory):
        try:
            reason = trial.run(layout)
        except (CheckpointError, EvaluationError, MemoryError) as error:
            reason = str(error)
        finally:
            trial.clear()
        if reason is None:
            per_token, state = trial.sizes(layout)
            return Verdict(layout, per_token, state, time.perf_counter() - begin, tuple(refused))
        refused.append((layout.value, reason))
    return Verdict(Layout.NONE, 0.0, 0, time.perf_counter() - begin, tuple(refused))


class _Trial:
    """Evaluates pieces of random tokens, saving after each; restores and compares."""

    def __init__(self, context: Context, memory: Memory, scratch: int, n_tokens: int) -> None:
        self._context, self._memory, self._scratch = context, memory, scratch
        generator = np.random.default_rng(0)
        tokens = generator.integers(0, context.model.vocabulary.n_tokens, n_tokens)
        cuts = [0, n_tokens // 3, n_tokens // 2, n_tokens - 1, n_tokens]
        self._pieces = [
            (start, tokens[start:stop]) for start, stop in pairwise(cuts)
        ]
        self._payloads: list[Payload] = []

    def clear(self) -> None:
        for sequence in (LIVE, OTHER, self._scratch):
            self._context.clear(sequence)

    def run(self, layout: Layout) -> str | None:
        """What differs; None when restoring at every place is exact."""
        payloads = Payloads(self._context, self._memory, layout, self._scratch)
        saved, wanted = self._evaluate_all(payloads)
        self._payloads = saved
        for place in range(1, len(self._pieces)):
            for name, restore in self._ways(layout, payloads, saved, place):
                self.clear()
                if name == "live":
                    self._evaluate_all(payloads)
                restore()
                got = self._evaluate(OTHER, self._pieces[place:], payloads)
                if not np.array_equal(got, wanted):  # bit for bit
                    worst = float(np.abs(got - wanted).max())
                    at = saved[place - 1].stop
                    return f"{name} restore after {at} tokens moves logits by up to {worst:.3g}"
        return None

    def _ways(
        self, layout: Layout, payloads: Payloads, saved: list[Payload], place: int
    ) -> list[tuple[str, Callable[[], object]]]:
        last = saved[place - 1]
        chain = saved[:place]
        ways: list[tuple[str, Callable[[], object]]] = [
            ("stored", lambda: payloads.put(OTHER, chain, last))
        ]
        if layout is Layout.SPLIT:
            ways.append(("live", lambda: self._fork(payloads, last)))
        return ways

    def _fork(self, payloads: Payloads, last: Payload) -> None:
        self._context.copy(LIVE, OTHER, 0, last.stop)
        # Its cells in between would move the last bits: see `Payloads.settle`.
        self._context.clear(LIVE)
        payloads.put(OTHER, (), last)

    def _evaluate_all(self, payloads: Payloads) -> tuple[list[Payload], npt.NDArray[np.float32]]:
        self.clear()
        saved: list[Payload] = []
        logits = np.empty(0, np.float32)
        for start, tokens in self._pieces:
            logits = self._evaluate(LIVE, [(start, tokens)], payloads)
            saved.append(payloads.take(LIVE, start, start + len(tokens)))
        return saved, logits

    def _evaluate(
        self,
        sequence: int,
        pieces: list[tuple[int, npt.NDArray[np.int64]]],
        payloads: Payloads,
    ) -> npt.NDArray[np.float32]:
        for start, tokens in pieces:
            for at in range(0, len(tokens), CHUNK):
                chunk = tokens[at : at + CHUNK]
                self._context.evaluate(chunk, start + at, sequence, logits=True)
            payloads.settle(sequence, start + len(tokens))
        return self._context.logits()

    def sizes(self, layout: Layout) -> tuple[float, int]:
        """Bytes per token, and bytes of one state, from the checkpoints of the last run."""
        if layout is Layout.WHOLE:
            first, second = self._payloads[0], self._payloads[2]
            growth = second.n_bytes - first.n_bytes
            per_token = growth / (second.stop - first.stop)
            return per_token, max(int(first.n_bytes - per_token * first.stop), 0)
        long, short = self._payloads[0], self._payloads[1]
        sizes = [0 if each.rows is None else each.rows.nbytes for each in (long, short)]
        n = (long.stop - long.start) - (short.stop - short.start)
        per_token = (sizes[0] - sizes[1]) / n
        rest = sizes[0] - per_token * (long.stop - long.start)
        state = self._payloads[-1].state
        return per_token, int(rest) + (0 if state is None else state.nbytes)
