"""A store whose queue stands still, so that what waits in it can be looked at."""

from __future__ import annotations

import threading

from llmagic.store import Kind, Store


class held:  # noqa: N801
    """Keeps a store's thread from writing: another entry's `done` waits."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.free = threading.Event()
        self.reached = threading.Event()

    def __enter__(self) -> None:
        def done(_: bool) -> None:
            self.reached.set()
            assert self.free.wait(300)

        self.store.put(Kind.ASKED, b"held", arrays={}, meta={}, done=done)
        assert self.reached.wait(300)

    def __exit__(self, *_: object) -> None:
        self.free.set()
