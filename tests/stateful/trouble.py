"""Something goes wrong during a turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llmagic.engine import decode
from llmagic.events import Event
from llmagic.session import Session

OCCASIONS = {"node": 200, "step": 8, "event": 8, "error": 8}
"""How often most turns could be interrupted: see `Trouble`."""


class DisplayError(Exception):
    """Raised by somebody who listens to events."""


class Trouble:
    """Something goes wrong during a turn, at the `n`-th occasion.

    `kind`: "node", asked for inside llama.cpp or between steps; "step", between steps only;
    "event", Ctrl-C in a listener; "error", an exception there.
    """

    def __init__(self, kind: str, n: int) -> None:
        self.kind = kind
        self._left = n

    def _strikes(self) -> bool:
        self._left -= 1
        return self._left < 0

    @contextmanager
    def in_(self, session: Session) -> Iterator[None]:
        flag, context = session.engine.interrupt, session.engine.context
        if self.kind in ("event", "error"):
            with pytest.MonkeyPatch.context() as patch:
                # Text is told at every token, not every 10 ms: the number of events must not
                # depend on the time, or Hypothesis finds another history than the one it drew.
                patch.setattr(decode, "READ_EVERY", 0.0)
                yield
            return
        if self.kind == "none":
            yield
            return
        flag.is_set = self._strikes
        if self.kind == "step":
            context.watch_interrupt = lambda on: None
        try:
            yield
        finally:
            del flag.is_set
            if self.kind == "step":
                del context.watch_interrupt

    def hear(self, _: Event) -> None:
        if self.kind in ("event", "error") and self._strikes():
            raise KeyboardInterrupt if self.kind == "event" else DisplayError
