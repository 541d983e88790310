"""What outlives the kernel: entries by kind and name, found by content alone.

Nothing here raises because of a disk: what cannot be read is not there, what cannot be written is
not kept, and the user is told once.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from llmagic.store.container import DamagedError, Entry, Header, Kind, check
from llmagic.store.eviction import Parents
from llmagic.store.folder import Folder, Record, located
from llmagic.store.writer import EXIT_SECONDS, Job, Writer

GIB = 1 << 30
DEFAULT_BUDGET = 10 * GIB
QUEUE = GIB // 4
TOUCH_SECONDS = 60.0
"""What was marked as used less long ago is not marked again."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class New:
    """An entry to be written, as `Store.put` takes it."""

    kind: Kind
    name: bytes
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, str]
    parent: bytes | None = None
    done: Callable[[bool], None] | None = None


class Usage(NamedTuple):
    """Files of one kind, and their bytes."""

    files: int
    n_bytes: int


class Store:
    """A folder of content-addressed files, shared by any number of processes.

    Reading happens in the caller's thread, writing in one thread of the store. `get`, `has`, `meta`
    and `put` may be called from any thread. After a fork the child reads, and writes nothing.

    Parameters
    ----------
    folder : Path
        Made when it is missing, for this user alone (mode 0700).
    budget : int
        Bytes that all entries may take. The least recently used go first, a checkpoint never
        before those that stand on it.
    warn : callable
        Gets one line for the user whenever something could not be used: once for each damaged
        file, once when writing goes off. It is called from any thread.
    queue : int
        Bytes of checkpoints that may wait to be written, and of images and embeddings; turns are a
        few kB, and always accepted.

    Attributes
    ----------
    usable : bool
        Whether the folder is there or could be made. Without it everything is a miss.
    """

    def __init__(
        self,
        folder: Path,
        *,
        budget: int = DEFAULT_BUDGET,
        warn: Callable[[str], None],
        queue: int = QUEUE,
    ) -> None:
        self.path = located(folder)
        self.budget = budget
        self._folder = Folder(self.path)
        self._warn = warn
        self._writer = Writer(self._folder, budget, queue, warn)
        self._parents = Parents(self._folder)
        self._bad: set[tuple[Kind, bytes]] = set()
        # What was marked as used within the last minute, and when; the newest last.
        self._touched: OrderedDict[tuple[Kind, bytes], float] = OrderedDict()
        self.usable = True
        try:
            self._folder.create()
        except (OSError, ValueError) as error:
            # A folder that is there but cannot be written to is still read.
            self.usable = os.path.isdir(self.path) and os.access(self.path, os.R_OK | os.X_OK)
            if not self.usable:
                self._writer.is_on = False
                reason = error.strerror if isinstance(error, OSError) else error
                warn(
                    f"the store cannot be at {str(self.path)!r} ({reason}): nothing is kept on "
                    "disk. Name a folder you can write to (`%config LLMagic.store = 'FOLDER'`, or "
                    "LLMAGIC_STORE before the start), and load the model again (`%llm load`)."
                )

    # --- reading ------------------------------------------------------------------------------

    def has(self, kind: Kind, name: bytes) -> bool:
        """Whether there is a file of this name; its bytes are not looked at."""
        return self.usable and (kind, name) not in self._bad and self._folder.has(kind, name)

    def meta(self, kind: Kind, name: bytes) -> dict[str, str] | None:
        """An entry's labels, `parent` (hexadecimal) among them.

        The header they are in is verified, the data is not read.
        """
        header = self.header(kind, name)
        return None if header is None else header.meta

    def header(self, kind: Kind, name: bytes) -> Header | None:
        """What an entry says about itself: labels, parent, size; verified."""
        return self._read(kind, name, self._folder.header)

    def get(self, kind: Kind, name: bytes) -> Entry | None:
        """An entry, every byte of it verified; None when it is missing or damaged.

        One that waits to be written is there already, as it was put. A damaged file is removed
        where possible and warned about once. The arrays must not be written to.
        """
        waiting = self._writer.waiting(kind, name)  # first: what is written meanwhile is there
        if waiting is not None:
            return waiting.entry
        return self._read(kind, name, self._folder.read)

    def _read(self, kind: Kind, name: bytes, how: Callable[[Kind, bytes], _T]) -> _T | None:
        if not self.has(kind, name):
            return None
        try:
            return how(kind, name)
        except FileNotFoundError:  # another process evicted it just now
            return None
        except MemoryError:
            self._warn(f"{self._folder.file(kind, name)} is not used: its bytes need more memory.")
            return None
        except DamagedError as error:
            what = f"is damaged and not used: {error}"
        except OSError as error:
            what = f"could not be read: {error.strerror or error}"
        if self._folder.has(
            kind, name
        ):  # or it was removed, and whatever comes in its place counts
            self._bad.add((kind, name))
        self._warn(f"{self._folder.file(kind, name)} {what}.")
        return None

    def touch(self, kind: Kind, name: bytes) -> bool:
        """Mark an entry as used without reading it; False where that was less than a minute ago."""
        now = time.monotonic()
        while self._touched and now - next(iter(self._touched.values())) >= TOUCH_SECONDS:
            self._touched.popitem(last=False)
        if (kind, name) in self._touched:
            return False
        self._touched[kind, name] = now
        if self.usable:
            self._folder.touch(kind, name)
        return True

    def parents(self) -> dict[bytes, bytes]:
        """Which checkpoint stands on which, also of those that wait to be written.

        The header of a file is read once.
        """
        waiting = self._writer.parents()  # first: what is written meanwhile is there
        there = self._parents.of(self.records(Kind.CHECKPOINT))
        return waiting | {name: parent for (_, name), (_, parent) in there.items()}

    def records(self, kind: Kind | None = None) -> Iterator[Record]:
        """The entries that are there, of one kind or of all, in no order."""
        return self._folder.records(kind)

    def usage(self) -> dict[Kind, Usage]:
        """What is on disk now, of all processes together, for each kind."""
        found = {kind: [0, 0] for kind in Kind}
        for record in self.records():
            found[record.kind][0] += 1
            found[record.kind][1] += record.n_bytes
        return {kind: Usage(*each) for kind, each in found.items()}

    # --- writing ------------------------------------------------------------------------------

    @property
    def writes(self) -> bool:
        """Whether entries are accepted; off after an error, until the next start."""
        return self._writer.is_on

    @property
    def pending(self) -> dict[Kind, int]:
        """Bytes of arrays that wait to be written, of each kind."""
        return dict(self._writer.pending)

    @property
    def pending_bytes(self) -> int:
        """Bytes of arrays that wait to be written."""
        return sum(self.pending.values())

    def put(
        self,
        kind: Kind,
        name: bytes,
        *,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, str],
        parent: bytes | None = None,
        done: Callable[[bool], None] | None = None,
    ) -> None:
        """Have an entry written soon; returns at once.

        An entry that is there already is only marked as used. A checkpoint whose `parent` is
        neither there nor written before it is refused: nobody could restore it.

        Parameters
        ----------
        kind, name
            What it is, and the digest it is found by.
        arrays : dict of str to ndarray
            Not copied: they must not change until `done`.
        meta : dict of str to str
            Labels; the keys `parent` and `llmagic.…` are the store's own.
        parent : bytes, optional
            The name of the checkpoint it stands on.
        done : callable, optional
            Gets whether the entry is on disk, once: from the writer's thread, or from this one
            when it is refused at once.

        Raises
        ------
        TypeError, ValueError
            Arrays or labels that no file can hold: a mistake of the caller, not of the disk.
        """
        self.put_together([New(kind, name, arrays, meta, parent, done)])

    def put_together(self, entries: Sequence[New]) -> bool:
        """Have entries written soon, in this order, as `put` does; returns at once.

        All of them are accepted or none, and none is written after one that was not: they are of
        use together alone, like a checkpoint's rows and state. False when they were refused.
        """
        for entry in entries:
            check(entry.arrays, entry.meta)
        jobs = [self._job(entry, follows=at > 0) for at, entry in enumerate(entries)]
        return self._writer.put(jobs)

    def _job(self, entry: New, *, follows: bool) -> Job:
        key = (entry.kind, entry.name)

        def tell(written: bool) -> None:
            if written:
                self._bad.discard(key)
            if entry.done is not None:
                entry.done(written)

        return Job(
            *key,
            dict(entry.arrays),
            dict(entry.meta),
            entry.parent,
            tell,
            again=key in self._bad,
            follows=follows,
        )

    def remove(self, kind: Kind, name: bytes) -> bool:
        """Remove an entry, and what waits to be written under its name; False if it is still there.

        One that is being written just now is removed as soon as it is there.
        """
        self._writer.forget(kind, name)
        return self._folder.remove(kind, name)

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the queue; False when something still waits."""
        return self._writer.flush(timeout)

    def close(self, timeout: float = EXIT_SECONDS) -> None:
        """Wait at most `timeout` seconds for the queue, drop the rest, accept nothing more.

        An interpreter that exits does this by itself.
        """
        self._writer.close(timeout)
