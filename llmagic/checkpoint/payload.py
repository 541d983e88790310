"""The bytes of a checkpoint: how they are taken from a context and put back.

A state of llama.cpp is an 8-byte header, then what can be cut (attention rows), then what cannot
(the SWA window, the recurrent rows). Copying a range of positions to a scratch sequence costs no
bytes and lets the rows of that range alone be read: a checkpoint holds the rows of its own tokens
and, where the memory cannot be cut, one small state at its end.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from llmagic.errors import CheckpointError
from llmagic.model.context import Bytes, Context
from llmagic.model.loading import Memory

HEADER = 8
"""Bytes before the body of every state (magic, sequence id). Forgetting them gives a wrong state
that loads without complaint."""


class Layout(enum.StrEnum):
    """How a checkpoint is made up."""

    SPLIT = "split"
    """Rows of its own tokens, and one state at its end."""
    DELTA = "delta"
    """One blob: the rows of its own tokens with the state at its end."""
    WHOLE = "whole"
    """One blob: everything from the first token on."""
    NONE = "none"
    """Restoring is not exact; nothing is saved."""


def has_state(memory: Memory, layout: Layout) -> bool:
    """Whether checkpoints of a model have a state beside their rows."""
    return layout is Layout.WHOLE or (layout is Layout.SPLIT and not memory.can_be_cut)


@dataclass(frozen=True)
class Payload:
    """Bytes of one checkpoint covering positions [start, stop)."""

    start: int
    stop: int
    rows: Bytes | None
    state: Bytes | None

    @property
    def n_bytes(self) -> int:
        return sum(part.nbytes for part in (self.rows, self.state) if part is not None)


class Payloads:
    """Takes payloads from a context and puts them back, in one layout.

    Parameters
    ----------
    context : Context
    memory : Memory
    layout : Layout
    scratch : int
        A sequence id nobody else uses.
    """

    def __init__(self, context: Context, memory: Memory, layout: Layout, scratch: int) -> None:
        self.context = context
        self.memory = memory
        self.layout = layout
        self._scratch = scratch
        context.clear(scratch)
        # The state of an unused sequence: what a split checkpoint's rows end with.
        if layout is Layout.SPLIT:
            self._nothing = context.read(scratch, partial=True)[HEADER:].copy()

    def take(self, sequence: int, start: int, stop: int, end: Payload | None = None) -> Payload:
        """Save a sequence that ends at position `stop`; its ancestor covers up to `start`.

        `end` is what `settle` returned, if it was just called.

        Raises
        ------
        MemoryError
            No room for the bytes.
        EvaluationError
            llama.cpp did not write what it had announced.
        """
        if self.layout is Layout.WHOLE:
            return Payload(start, stop, None, self.context.read(sequence))
        if self.memory is Memory.RECURRENT and self.layout is Layout.SPLIT:
            return Payload(start, stop, None, self._state(sequence, stop))
        known = end.state if end is not None and self.layout is Layout.SPLIT else None
        rows = self._rows(sequence, start, stop)
        if self.memory.can_be_cut or self.layout is Layout.DELTA:
            return Payload(start, stop, rows, None)
        return Payload(start, stop, rows, self._state(sequence, stop) if known is None else known)

    def _state(self, sequence: int, stop: int) -> Bytes:
        """What cannot be cut, at the end of a sequence.

        The cache drops a window's old rows only when it is full, so a sequence may hold many
        times what the window needs; the range leaves them out.
        """
        n_swa = self.context.model.n_swa
        if not n_swa:
            return self.context.read(sequence, partial=True)
        try:
            self.context.copy(sequence, self._scratch, max(0, stop - n_swa), stop)
            return self.context.read(self._scratch, partial=True)
        finally:
            self.context.clear(self._scratch)

    def _rows(self, sequence: int, start: int, stop: int) -> Bytes:
        context, scratch = self.context, self._scratch
        try:
            context.copy(sequence, scratch, start, stop)
            rows = context.read(scratch)
            if self.layout is not Layout.SPLIT or self.memory.can_be_cut:
                return rows
            state = context.state_size(scratch, partial=True) - HEADER
            return np.concatenate([rows[: rows.size - state], self._nothing])
        finally:
            context.clear(scratch)

    def put(self, sequence: int, payloads: Iterable[Payload], state: Payload | None) -> int:
        """Append rows to a sequence and set its state; returns the bytes that moved.

        `payloads` follow each other and begin where the sequence ends. `state` is the last
        checkpoint on the way, whose state is put back; None where the memory needs none.

        Raises
        ------
        CheckpointError
            llama.cpp refused one of them; the sequence must be dropped.
        """
        moved = 0
        for payload in payloads:
            if payload.rows is not None:
                try:
                    self._write(self._scratch, payload.rows, partial=False)
                    self.context.copy(self._scratch, sequence, payload.start, payload.stop)
                finally:
                    self.context.clear(self._scratch)
                moved += payload.rows.nbytes
        if state is not None and state.state is not None:
            self.put_end(sequence, state)
            moved += state.state.nbytes
        return moved

    def settle(self, sequence: int, stop: int) -> Payload | None:
        """Bring a sequence into the form it has when it was just restored at `stop`.

        Attention sums over cells in their order, in blocks; a window that slid to other cells
        than those it is restored into gives other last bits. So a sliding window is put back into
        place at every boundary, in cold runs, too, and both do the same arithmetic from there.
        Returns the end that was put back; None for memory without a window, and where restoring
        is not exact.

        Raises
        ------
        CheckpointError
            llama.cpp refused; the sequence must be dropped.
        """
        if not self.context.model.n_swa or self.layout is Layout.NONE:
            return None
        end = self.take_end(sequence, stop)
        self.put_end(sequence, end)
        return end

    def take_end(self, sequence: int, stop: int) -> Payload:
        """What takes a sequence back to `stop`, where it ends now, while its rows stay.

        Only for a memory that cannot be cut; not a checkpoint: it needs the rows in the context.
        """
        split = self.layout is Layout.SPLIT
        state = self._state(sequence, stop) if split else self.context.read(sequence)
        return Payload(stop, stop, None, state)

    def put_end(self, sequence: int, end: Payload) -> None:
        """Take a sequence back to where `take_end` was called.

        Raises
        ------
        CheckpointError
            llama.cpp refused; the sequence must be dropped.
        """
        assert end.state is not None
        partial = self.layout is Layout.SPLIT
        self._write(sequence, end.state, partial=partial)
        if partial and not self.context.cut(sequence, end.stop):
            raise CheckpointError("the rows after a restored state could not be cut off.")

    def _write(self, sequence: int, data: Bytes, *, partial: bool) -> None:
        if not self.context.write(sequence, data, partial=partial):
            raise CheckpointError(f"llama.cpp refused a state of {data.nbytes:,} bytes.")
