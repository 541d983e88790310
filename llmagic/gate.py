"""Who may use a loaded model: one at a time, and nobody after it was closed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from llmagic.errors import UsageError


class Gate:
    """The way to what only one may use, until it is closed.

    A kernel may use a session from several threads. They wait for each other; what a turn itself
    calls (the listener of its events, a tool) is in its thread, cannot wait, and is refused.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._busy = False
        self.is_open = True

    def check_open(self) -> None:
        """Raise `UsageError` after it was closed."""
        # llama.cpp would be called with what was freed, which ends the process.
        if not self.is_open:
            raise UsageError(
                "expected an open session, and this one was closed. Load the model again."
            )

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Read, also from inside a turn."""
        with self._lock:
            self.check_open()
            yield

    @contextmanager
    def alone(self, *, wait: bool = True) -> Iterator[bool]:
        """Evaluate or change something; gives False where `wait` is false and another does.

        Raises
        ------
        UsageError
            It was closed, or is used from inside a turn.
        """
        if not self._lock.acquire(blocking=wait):
            yield False
            return
        try:
            with self._only_one():
                self.check_open()
                yield True
        finally:
            self._lock.release()

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close it, when nobody uses it any more; once more does no harm.

        Raises
        ------
        UsageError
            From inside a turn, which could not go on.
        """
        with self._lock, self._only_one():
            self.is_open = False
            yield

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        if self._busy:
            raise UsageError(
                "expected the session to be free, and a turn is being answered. Ask again when it "
                "is done, not from its events or tools."
            )
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
