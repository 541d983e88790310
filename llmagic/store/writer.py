"""One thread that writes what is put into the store, behind the caller's back.

It lives while there is something to write. Its queue is bounded in bytes, but for turns; whoever
puts never waits: what does not fit is refused.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from llmagic.store.container import DamagedError, Entry, Kind, pack
from llmagic.store.eviction import Parents, evict
from llmagic.store.files import AbandonedError
from llmagic.store.folder import Folder

EXIT_SECONDS = 5.0
"""How long an interpreter that exits waits for the queue."""

# Whoever puts one of these puts it once. A few kB, and without them a turn is neither replayed nor
# taken over: they are never refused for lack of room.
_TURNS = frozenset({Kind.TURN, Kind.ASKED})
# Put once, too, and of some MB each, so they are bounded; apart from the checkpoints, which come
# again with the next one that stands on them, and of which one may fill the queue for seconds.
_PICTURES = frozenset({Kind.IMAGE, Kind.EMBEDDING})
_CHECKPOINTS = frozenset({Kind.CHECKPOINT, Kind.STATE})


@dataclass(frozen=True)
class Job:
    """An entry to be written; its arrays must not change any more.

    `again` writes it even where a file of its name is there, one that is known to be bad. One that
    `follows` is of no use without the job before it.
    """

    kind: Kind
    name: bytes
    arrays: dict[str, np.ndarray]
    meta: dict[str, str]
    parent: bytes | None
    done: Callable[[bool], None]
    again: bool = False
    follows: bool = False

    @property
    def key(self) -> tuple[Kind, bytes]:
        return self.kind, self.name

    @property
    def n_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def entry(self) -> Entry:
        """What reading it gives once it is written."""
        parent = {} if self.parent is None else {"parent": self.parent.hex()}
        return Entry({**self.meta, **parent}, dict(self.arrays))


class Writer:
    """Writes jobs in the order in which they came.

    Parameters
    ----------
    folder : Folder
    budget : int
        Bytes on disk, of all processes together.
    queue : int
        Bytes of checkpoints that may wait in memory, and of pictures (images and embeddings). What
        is put together may be larger when no other of these waits. Turns are not counted.
    warn : callable
        Gets one line when writing goes off, from whichever thread finds out.

    Attributes
    ----------
    pending : dict of Kind to int
        Bytes of the jobs that wait or are being written.
    """

    def __init__(
        self, folder: Folder, budget: int, queue: int, warn: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._budget = budget
        self._queue = queue
        self._warn = warn
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        # What is being written, and whether it was removed meanwhile.
        self._current: Job | None = None
        self._unwanted = False
        self._thread: threading.Thread | None = None
        self._registered = False
        self._closed = False
        self._abandon = False
        self.is_on = True
        self.pending = dict.fromkeys(Kind, 0)
        # Known after the first look; other processes write, too, so it is looked up again.
        self._total: int | None = None
        self._since = 0
        self._parents = Parents(folder)

    # --- any thread ---------------------------------------------------------------------------

    def put(self, jobs: Sequence[Job]) -> bool:
        """Queue jobs, or refuse all at once (then `done` is called before this returns)."""
        if self._accept(jobs):
            return True
        for job in jobs:
            self._tell(job, False)
        return False

    def _accept(self, jobs: Sequence[Job]) -> bool:
        n_bytes = sum(job.n_bytes for job in jobs)
        # A forked child has the queue but not the thread, and perhaps a lock held by nobody.
        if os.getpid() != self._process or n_bytes > self._budget:
            return False
        with self._changed:
            if self._closed or not self.is_on or self._is_full(jobs, n_bytes):
                return False
            self._jobs.extend(jobs)
            self._count(jobs, 1)
            if self._start():
                return True
            for _ in jobs:
                self._jobs.pop()
            self._count(jobs, -1)
            return False

    def _is_full(self, jobs: Sequence[Job], n_bytes: int) -> bool:
        """Whether there is no room for these jobs together; the lock is held."""
        kinds = {job.kind for job in jobs}
        if kinds <= _TURNS:
            return False
        beside = _PICTURES if kinds <= _PICTURES else _CHECKPOINTS
        n_pending = sum(self.pending[kind] for kind in beside)
        return n_pending > 0 and n_pending + n_bytes > self._queue

    def _count(self, jobs: Iterable[Job], sign: int) -> None:
        """Count jobs that begin or cease (-1) to wait; the lock is held."""
        for job in jobs:
            self.pending[job.kind] += sign * job.n_bytes

    def forget(self, kind: Kind, name: bytes) -> None:
        """Write no entry of this name that was put until now, nor what follows it.

        One that is being written is given up, or removed as soon as it is there.
        """
        if os.getpid() != self._process:
            return
        kept, dropped = deque[Job](), list[Job]()
        with self._changed:
            lost = self._current is not None and self._current.key == (kind, name)
            self._unwanted |= lost
            for job in self._jobs:
                lost = job.key == (kind, name) or (job.follows and lost)
                (dropped if lost else kept).append(job)
            self._jobs = kept
            self._count(dropped, -1)
        for job in dropped:
            self._tell(job, False)

    def waiting(self, kind: Kind, name: bytes) -> Job | None:
        """The newest job of this name, of those that wait or are being written."""
        if os.getpid() != self._process:
            return None
        with self._changed:
            current = None if self._unwanted else self._current
            jobs = [*([] if current is None else [current]), *self._jobs]
        return next((job for job in reversed(jobs) if job.key == (kind, name)), None)

    def parents(self) -> dict[bytes, bytes]:
        """Which checkpoint is to stand on which, of those that wait or are being written."""
        if os.getpid() != self._process:
            return {}
        with self._changed:
            jobs = [*self._jobs, *([] if self._current is None else [self._current])]
        return {job.name: job.parent for job in jobs if job.parent is not None}

    def _start(self) -> bool:
        """Have a thread running if there are jobs; the lock is held."""
        if self._thread is not None or not self._jobs:
            return True
        thread = threading.Thread(target=self._run, name="llmagic-store", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is about to end
            return False
        self._thread = thread
        if not self._registered:
            atexit.register(self.close, EXIT_SECONDS)
            self._registered = True
        return True

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written or refused; False when that took too long."""
        if os.getpid() != self._process:
            return True
        with self._changed:
            return self._start() and self._changed.wait_for(lambda: self._thread is None, seconds)

    def close(self, seconds: float) -> None:
        """Wait for the queue, then give up what is left; nothing is accepted any more."""
        if os.getpid() != self._process or self._closed:
            return
        with self._changed:
            self._closed = True
        self.flush(seconds)
        self._abandon = True
        self._drop()
        # The thread sees it before its next piece, and removes its temporary file.
        self.flush(0.5)
        if self._registered:
            atexit.unregister(self.close)

    def _drop(self) -> None:
        with self._changed:
            jobs = list(self._jobs)
            self._jobs.clear()
            self._count(jobs, -1)
        for job in jobs:
            self._tell(job, False)

    def _tell(self, job: Job, written: bool) -> None:
        try:
            job.done(written)
        except Exception as error:
            self._warn(f"a callback after writing to the store failed: {error!r}")

    # --- the writer's thread ------------------------------------------------------------------

    def _run(self) -> None:
        written = False
        while True:
            with self._changed:
                if not self._jobs:
                    self._thread = None
                    self._changed.notify_all()
                    return
                job = self._current = self._jobs.popleft()
                self._unwanted = False
            written = self._try(job) if written or not job.follows else False
            with self._changed:
                self._current = None
                self._count([job], -1)
            if self._unwanted:
                self._folder.remove(*job.key)
                written = False
            self._tell(job, written)

    def _try(self, job: Job) -> bool:
        try:
            return self._write(job)
        except AbandonedError:
            pass
        except Exception as error:
            self._switch_off(error)
        return False

    def _switch_off(self, error: Exception) -> None:
        with self._changed:
            self.is_on = False
        self._drop()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        self._warn(
            f"nothing more is kept on disk: {reason} "
            f"({self._folder.path}). Make room or change LLMAGIC_STORE, then `%llm unload` and "
            "`%llm load`; all else goes on."
        )

    def _write(self, job: Job) -> bool:
        if self._total is None:
            self._folder.create()
            self._folder.remove_temporaries()
            self._total = sum(record.n_bytes for record in self._folder.records())
        if not job.again and self._is_there(job):
            self._folder.touch(job.kind, job.name)
            return True
        if job.parent is not None and not self._folder.has(job.kind, job.parent):
            return False
        pieces = pack(job.kind, job.name, job.arrays, job.meta, job.parent)
        try:
            written = self._publish(job, pieces)
        except FileNotFoundError:  # somebody removed the store
            self._folder.create()
            written = self._publish(job, pieces)
        if written:
            self._parents.forget((job.kind, job.name))
            self._account(job, sum(map(len, pieces)))
        return written

    def _publish(self, job: Job, pieces: list[memoryview]) -> bool:
        return self._folder.publish(
            job.kind, job.name, pieces, parent=job.parent, abandon=self._gives_up
        )

    def _gives_up(self) -> bool:
        return self._abandon or self._unwanted

    def _is_there(self, job: Job) -> bool:
        """Whether an entry need not be written: a usable one is there."""
        try:
            parent = self._folder.header(job.kind, job.name).parent
        except (OSError, DamagedError):
            return False
        return parent is None or self._folder.has(job.kind, parent)

    def _account(self, job: Job, n_bytes: int) -> None:
        assert self._total is not None
        self._total += n_bytes
        self._since += n_bytes
        if self._total <= self._budget and self._since <= self._budget // 32:
            return
        evicted = evict(self._folder, self._parents, self._budget, keep=(job.kind, job.name))
        if evicted is not None:
            self._total = evicted.left
            self._since = 0
