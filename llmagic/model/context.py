"""The model's working memory: evaluate into it, copy it out, put it back.

Everything llama.cpp would answer with an abort is checked here before the call.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llmagic.errors import EvaluationError, Interrupted, ModelError
from llmagic.model.adapters import set_adapters
from llmagic.model.interrupt import InterruptFlag
from llmagic.model.library import LOG, llama
from llmagic.model.loading import Memory, Model

Bytes = npt.NDArray[np.uint8]

PARTIAL_ONLY = 1
"""Only what cannot be cut: the SWA window, the recurrent rows (llama.h, LLAMA_STATE_SEQ_FLAGS)."""

KV_TYPES = {"f16": llama.GGML_TYPE_F16, "q8_0": llama.GGML_TYPE_Q8_0, "q4_0": llama.GGML_TYPE_Q4_0}

ABORTED = 2
NO_ROOM = 1


class NoRoomError(EvaluationError):
    """No free cells for a batch; nothing was evaluated. Make room and try again."""


@dataclass(frozen=True)
class Shape:
    """Sizes a context is made with.

    Attributes
    ----------
    n_ctx : int
        Cells, shared by all sequences (tokens).
    n_sequences : int
        Sequence ids.
    n_batch : int
        Most tokens evaluated in one call; also the micro-batch, so that an image whose tokens
        see each other fits one (a smaller one aborts the process).
    kv_type : str
        "f16", "q8_0" or "q4_0".
    n_threads : int
        For single tokens; 0: one for each physical core.
    n_threads_batch : int
        For more than one token; 0: as many.
    """

    n_ctx: int
    n_sequences: int
    n_batch: int = 512
    kv_type: str = "f16"
    n_threads: int = 0
    n_threads_batch: int = 0

    @property
    def threads(self) -> tuple[int, int]:
        """Threads for single tokens, and for more."""
        single = self.n_threads or physical_cores()
        return single, self.n_threads_batch or single


class Context:
    """One llama.cpp context.

    Raises
    ------
    ModelError
        It cannot be made: too large for this machine, or a cache type the model refuses.
    """

    def __init__(self, model: Model, shape: Shape, interrupt: InterruptFlag | None = None) -> None:
        if shape.kv_type not in KV_TYPES:
            raise ModelError(
                f"expected a cache type among {', '.join(KV_TYPES)}, and got {shape.kv_type!r}."
            )
        self.model = model
        self.shape = shape
        self.interrupt = interrupt or InterruptFlag()
        parameters = llama.llama_context_default_params()
        # llama.cpp shrinks the batch to the context before it rounds the context up, and then
        # ends the process at the first batch that is larger.
        parameters.n_ctx = max(shape.n_ctx, shape.n_batch)
        parameters.n_batch = parameters.n_ubatch = shape.n_batch
        parameters.n_seq_max = shape.n_sequences
        parameters.n_threads, parameters.n_threads_batch = shape.threads
        parameters.type_k = parameters.type_v = KV_TYPES[shape.kv_type]
        parameters.kv_unified = True
        parameters.no_perf = True
        # A window's layers keep a window: memory is what such models are for, and a checkpoint's
        # state would otherwise be the whole cache.
        parameters.swa_full = False
        # With flash attention a sequence restored into an empty cache is exact, windows included.
        parameters.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_ENABLED
        with LOG.section() as log:
            pointer = llama.llama_init_from_model(model.pointer, parameters)
            if not pointer:
                advice = "a smaller --ctx" + (", or --kv f16" if shape.kv_type != "f16" else "")
                raise ModelError(
                    f"no context of {shape.n_ctx:,} tokens ({shape.kv_type} cache) could be made "
                    f"for {model.name!r}. Try {advice}. llama.cpp: {log.errors()}"
                )
        self.pointer = pointer
        # The model must outlive it, also when both are collected at once.
        self._finalizer = weakref.finalize(self, _free, pointer, model)
        set_adapters(pointer, model.adapters)
        self._memory = llama.llama_get_memory(pointer)
        if not self._memory:
            self.close()
            raise ModelError(
                f"expected a model that generates text, and {model.name!r} "
                f"({model.header.architecture}) has no memory of its context, as embedding models."
            )
        self.n_ctx = int(llama.llama_n_ctx(pointer))
        self._batch = _Batch(shape.n_batch)
        self._n_vocab = model.vocabulary.n_tokens
        if model.memory is Memory.SWA and not self._has_window():
            model.has_no_window()

    def _has_window(self) -> bool:
        """Whether the cache keeps a window apart.

        Some files speak of a window that llama.cpp does not apply (exaone4 but for its largest);
        its partial state is then the whole state, and writing a window's worth of it back would
        throw the rest away.
        """
        self.evaluate((0,), 0, 0)
        apart = self.state_size(0, partial=True) != self.state_size(0)
        self.clear(0)
        return apart

    def close(self) -> None:
        """Free the context."""
        self._finalizer()

    # Evaluation -----------------------------------------------------------------------------

    def evaluate(
        self, tokens: npt.ArrayLike, position: int, sequence: int, *, logits: bool = False
    ) -> None:
        """Evaluate text tokens, at most `n_batch`, at `position` and the following ones.

        Raises
        ------
        NoRoomError
            There are no free cells; nothing happened.
        Interrupted
            The user interrupted; part of the batch may be in the cache.
        EvaluationError
            llama.cpp failed; part of the batch may be in the cache.
        """
        batch = self._batch.fill(tokens, position, sequence, logits)
        with LOG.section() as log:
            code = llama.llama_decode(self.pointer, batch)
            if code != 0:
                self.check(code, log.errors)

    def check(self, code: int, reason: object) -> None:
        """Turn llama.cpp's return code into one of the exceptions of `evaluate`."""
        if code == 0:
            return
        if code == ABORTED:
            raise Interrupted("the turn is not part of the conversation.")
        said = reason() if callable(reason) else reason
        if code == NO_ROOM:
            raise NoRoomError(f"no room in a context of {self.n_ctx:,} tokens: {said}")
        raise EvaluationError(
            f"llama.cpp could not evaluate a batch (code {code}): {said}. The conversation is "
            "unchanged; run the cell again, or load the model again."
        )

    def watch_interrupt(self, on: bool) -> None:
        """Let llama.cpp ask for the interrupt flag after every graph node, or stop asking.

        Asking costs a call into Python for each node: nothing for a batch, too much for the
        single tokens of a small model, which return to Python soon enough anyway.
        """
        callback = self.interrupt.callback if on else llama.ggml_abort_callback(0)
        llama.llama_set_abort_callback(self.pointer, callback, None)

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits after the last token evaluated with `logits=True`: (n_vocab,), a copy."""
        pointer = llama.llama_get_logits_ith(self.pointer, -1)
        if not pointer:
            raise EvaluationError("no logits: the last evaluation did not ask for them.")
        return np.ctypeslib.as_array(pointer, shape=(self._n_vocab,)).copy()

    # Sequences ------------------------------------------------------------------------------

    def copy(self, source: int, target: int, start: int, stop: int) -> None:
        """Let `target` share the cells of `source` in positions [start, stop); no bytes move.

        Recurrent memory has one state only, at the end of `source`; that is what is shared.
        """
        llama.llama_memory_seq_cp(self._memory, source, target, start, stop)

    def clear(self, sequence: int) -> None:
        """Forget a sequence; cells shared with others stay."""
        llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def cut(self, sequence: int, position: int) -> bool:
        """Drop everything from `position` on. False, and nothing changed, where that cannot be."""
        return bool(llama.llama_memory_seq_rm(self._memory, sequence, position, -1))

    def end(self, sequence: int) -> int:
        """The last position held by a sequence, -1 when it is empty."""
        return int(llama.llama_memory_seq_pos_max(self._memory, sequence))

    def begin(self, sequence: int) -> int:
        """The first position a sequence holds (in the window if there is one), -1 if empty."""
        return int(llama.llama_memory_seq_pos_min(self._memory, sequence))

    # State ----------------------------------------------------------------------------------

    def state_size(self, sequence: int, *, partial: bool = False) -> int:
        """Bytes `read` would return."""
        flags = PARTIAL_ONLY if partial else 0
        return int(llama.llama_state_seq_get_size_ext(self.pointer, sequence, flags))

    def read(self, sequence: int, *, partial: bool = False) -> Bytes:
        """Copy a sequence's state out of the context.

        Raises
        ------
        MemoryError
            There is no room for the copy.
        EvaluationError
            llama.cpp wrote another number of bytes than it had announced.
        """
        flags = PARTIAL_ONLY if partial else 0
        size = self.state_size(sequence, partial=partial)
        buffer: Bytes = np.empty(size, np.uint8)
        pointer = buffer.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        n = int(llama.llama_state_seq_get_data_ext(self.pointer, pointer, size, sequence, flags))
        if n != size:
            raise EvaluationError(f"expected a state of {size:,} bytes, and llama.cpp wrote {n:,}.")
        return buffer

    def write(self, sequence: int, state: Bytes, *, partial: bool = False) -> bool:
        """Replace a sequence's state by one that `read` returned.

        False when llama.cpp refuses; the sequence, or with `partial` what cannot be cut of it, is
        empty then.
        """
        flags = PARTIAL_ONLY if partial else 0
        state = np.ascontiguousarray(state)
        pointer = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        n = llama.llama_state_seq_set_data_ext(self.pointer, pointer, state.size, sequence, flags)
        return int(n) == state.size


def _free(pointer: int, _: Model) -> None:
    llama.llama_free(pointer)


class _Batch:
    """One llama_batch, allocated once and filled in place."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._token = np.zeros(size, np.int32)
        self._position = np.zeros(size, np.int32)
        self._n_seq_id = np.ones(size, np.int32)
        self._seq_id = np.zeros(1, np.int32)
        self._logits = np.zeros(size, np.int8)
        one = self._seq_id.ctypes.data_as(ctypes.POINTER(llama.llama_seq_id))
        self._seq_ids = (ctypes.POINTER(llama.llama_seq_id) * (size + 1))(*[one] * size)
        batch = llama.llama_batch()
        batch.token = self._token.ctypes.data_as(ctypes.POINTER(llama.llama_token))
        batch.pos = self._position.ctypes.data_as(ctypes.POINTER(llama.llama_pos))
        batch.n_seq_id = self._n_seq_id.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        batch.seq_id = self._seq_ids
        batch.logits = self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        self._batch = batch

    def fill(
        self, tokens: npt.ArrayLike, position: int, sequence: int, logits: bool
    ) -> llama.llama_batch:
        if isinstance(tokens, tuple) and len(tokens) == 1:
            # A token of a reply: every microsecond counts.
            self._token[0], self._position[0], self._seq_id[0] = tokens[0], position, sequence
            self._logits[0], self._batch.n_tokens = logits, 1
            return self._batch
        values = np.asarray(tokens, np.int32)
        n = len(values)
        if not 0 < n <= self._size:
            raise ValueError(f"expected 1 to {self._size} tokens in a batch, and got {n}")
        self._token[:n] = values
        self._position[:n] = np.arange(position, position + n, dtype=np.int32)
        self._seq_id[0] = sequence
        self._logits[:n] = 0
        self._logits[n - 1] = logits
        self._batch.n_tokens = n
        return self._batch


def physical_cores() -> int:
    """Physical cores this process may run on; two threads on one core make decoding slower."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if allowed is None:
        return os.cpu_count() or 1
    siblings = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(path.read_text())
        except OSError:
            siblings.add(str(cpu))
    return len(siblings)
