"""Stopping inside a call into llama.cpp.

While the main thread is inside `llama_decode` no Python signal handler runs, so Ctrl-C would wait
for the whole batch. llama.cpp asks an abort callback after every graph node; entering that
callback lets Python run the pending handler, which sets the flag the callback returns.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from llmagic.errors import Interrupted
from llmagic.model.library import llama

_Handler = Callable[[int, FrameType | None], object] | int | None


class InterruptFlag:
    """Set by SIGINT between `__enter__` and `__exit__`; read by llama.cpp and by the session.

    Outside the main thread, where Python does not allow handlers, `set` can still be called.
    """

    def __init__(self) -> None:
        self._set = False
        self._previous: _Handler = None
        self._installed = False
        self.callback = llama.ggml_abort_callback(self._ask)

    def __enter__(self) -> InterruptFlag:
        self._set = False
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._installed:
            # None: the handler was not set from Python; SIG_DFL is the closest there is.
            previous = signal.SIG_DFL if self._previous is None else self._previous
            signal.signal(signal.SIGINT, previous)
            self._installed = False
        if self._set and error is None:
            # Nobody asked since: the user still wants "Run All" to stop here.
            raise Interrupted("the turn is not part of the conversation.")

    def set(self) -> None:
        """Ask the running evaluation to stop."""
        self._set = True

    def is_set(self) -> bool:
        """Whether the running evaluation was asked to stop."""
        return self._set

    def _ask(self, _: ctypes.c_void_p) -> bool:
        return self.is_set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._set = True
