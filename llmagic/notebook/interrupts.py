"""Ctrl-C outside of the model's work: at once but for what must be whole, and always one line.

A module that was half imported is not whole again in this process: numpy refuses to be loaded
twice. Half of a change of the conversation would lose turns. What the model does has an interrupt
of its own (`llmagic.model.interrupt`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from llmagic.errors import Interrupted

STOPPED = "the turn is not part of the conversation."
KEPT = "the reply was complete, and the turn is part of the conversation."


@contextmanager
def told(message: str = STOPPED) -> Iterator[None]:
    """Make a bare `KeyboardInterrupt` of this package's, which is shown as one line.

    Raises
    ------
    Interrupted
    """
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt as error:
        raise Interrupted(message) from error


@contextmanager
def held() -> Iterator[None]:
    """Let a Ctrl-C wait until what is inside is done; then it goes where it would have gone.

    Raises
    ------
    KeyboardInterrupt
        There was one, and this is not inside of another `held`.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Signals are handled in the main thread alone; between two cells a kernel ignores this one.
        yield
        return
    came: list[tuple[int, FrameType | None]] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))

    previous = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        # None: the handler was not set from Python; SIG_DFL is the closest there is.
        signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)
    if came:
        if not callable(previous):
            raise KeyboardInterrupt
        previous(*came[0])


def import_all(*, schema: bool = False) -> None:
    """Import what answers a cell, with `schema` also what reads one; whole, or not begun.

    Raises
    ------
    KeyboardInterrupt
        There was one meanwhile.
    """
    with held():
        import llmagic.session

        if schema:
            import jsonschema.validators  # noqa: F401

            import llmagic.prompt.schema  # noqa: F401
