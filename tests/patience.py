"""How long tests wait for a disk that other things use, too."""

from __future__ import annotations

from llmagic.store import Store, writer

SECONDS = 120.0


def wait_for_the_disk() -> None:
    """Have every store of this process be written when it is closed, however long that takes.

    A user who closes a session waits some seconds and loses what is not written by then. A test
    that reads it afterwards must not depend on how busy the machine is.
    """
    writer.EXIT_SECONDS = SECONDS
    Store.close.__defaults__ = (SECONDS,)
