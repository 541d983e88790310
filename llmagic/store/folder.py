"""The folder of the store: one file per entry. There is no index: a name is a path."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from llmagic.store.container import (
    VERSION,
    DamagedError,
    Entry,
    Header,
    Kind,
    read_data,
    read_header,
)
from llmagic.store.files import (
    STALE,
    TEMPORARY,
    discard,
    locked,
    remove_abandoned,
    sync,
    temporary,
    write,
)

SUFFIX = ".safetensors"
PUBLISHING = 5.0
"""Seconds that a new file waits for an eviction to end; after that it is published all the same."""


def root() -> Path:
    """Where the store is by default: LLMAGIC_STORE, or `store` in the platform's cache folder."""
    if named := os.environ.get("LLMAGIC_STORE"):
        return located(named)
    return located(platformdirs.user_cache_dir("llmagic", appauthor=False)) / "store"


def located(path: str | os.PathLike[str]) -> Path:
    """A folder's absolute path, which `os.chdir` does not move.

    A `~` that stands for nobody's home stays: such a path is no folder, and `Store` says so.
    """
    expanded = Path(os.path.expanduser(path))
    return expanded if expanded.parts[:1] and expanded.parts[0][0] == "~" else expanded.absolute()


@dataclass(frozen=True)
class Record:
    """A file of the store as its folder lists it.

    Attributes
    ----------
    n_bytes : int
        Its size.
    used : int
        When it was last used (ns since the epoch).
    stamp : tuple of int
        What tells it from any other file that had or gets this name, and from itself before its
        last use: file number and time of the last change (file numbers are used again).
    """

    kind: Kind
    name: bytes
    n_bytes: int
    used: int
    stamp: tuple[int, int]


class Folder:
    """Paths, listing, reading, and atomic writing.

    Parameters
    ----------
    path : Path
        The store's folder; the files are in a folder below it that names the format's version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._versioned = path / f"v{VERSION}"

    def create(self) -> None:
        """Make the folders that are missing, for this user alone.

        Raises
        ------
        OSError, ValueError
            They cannot be made.
        """
        if not self.path.is_absolute():
            raise ValueError("there is no such home folder")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self._versioned, *map(self.of, Kind)):
            folder.mkdir(mode=0o700, exist_ok=True)

    def of(self, kind: Kind) -> Path:
        """The folder of a kind."""
        return self._versioned / kind

    def file(self, kind: Kind, name: bytes) -> Path:
        """Where an entry is, or would be."""
        return self.of(kind) / (name.hex() + SUFFIX)

    # --- reading ------------------------------------------------------------------------------

    def has(self, kind: Kind, name: bytes) -> bool:
        """Whether there is a file of this name."""
        try:
            return os.path.isfile(self.file(kind, name))
        except OSError:
            return False

    def header(self, kind: Kind, name: bytes, *, remove: bool = True) -> Header:
        """A file's verified header; `remove` as in `opened`.

        Raises
        ------
        DamagedError, OSError
        """
        with self.opened(kind, name, remove=remove) as (_, header):
            return header

    def read(self, kind: Kind, name: bytes) -> Entry:
        """A file's verified content. Marks it as used, at most once a minute.

        Raises
        ------
        DamagedError, OSError
        """
        with self.opened(kind, name) as (descriptor, header):
            entry = read_data(descriptor, header)
            if abs(time.time() - os.fstat(descriptor).st_mtime) > 60:
                self.touch(kind, name)
            return entry

    @contextlib.contextmanager
    def opened(
        self, kind: Kind, name: bytes, *, remove: bool = True
    ) -> Iterator[tuple[int, Header]]:
        """A file's descriptor, at its data, and its verified header.

        A file found damaged, here or in the body, is removed where possible: nobody can use it.
        With `remove` off it stays, for those who only look.

        Raises
        ------
        DamagedError, OSError
        """
        path = self.file(kind, name)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = read_header(descriptor)
            if (header.kind, header.name) != (kind, name):
                raise DamagedError(f"it says that it is {header.name.hex()} of {header.kind}")
            yield descriptor, header
        except DamagedError:
            with contextlib.suppress(OSError):
                # Somebody may have put a good one in its place meanwhile.
                if remove and os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                    os.unlink(path)
            raise
        finally:
            os.close(descriptor)

    def touch(self, kind: Kind, name: bytes) -> None:
        """Mark an entry as used now, where that is possible."""
        with contextlib.suppress(OSError):
            os.utime(self.file(kind, name))

    def records(self, kind: Kind | None = None) -> Iterator[Record]:
        """The files that are there; those that vanish or cannot be looked at are left out."""
        for each in Kind if kind is None else (kind,):
            for item in self._listed(each):
                name = _name(item.name)
                if name is None:
                    continue
                with contextlib.suppress(OSError):
                    if item.is_file():
                        found = item.stat()
                        yield Record(each, name, found.st_size, found.st_mtime_ns, stamp_of(found))

    def _listed(self, kind: Kind) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.of(kind)) as items:
                return list(items)
        except (OSError, ValueError):
            return []

    # --- writing ------------------------------------------------------------------------------

    def publish(
        self,
        kind: Kind,
        name: bytes,
        pieces: Sequence[memoryview],
        *,
        parent: bytes | None = None,
        abandon: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Write a file under a temporary name, sync it, rename it.

        Returns False, and leaves nothing behind, when the parent is not there at the end.

        Raises
        ------
        AbandonedError
            `abandon` said so.
        OSError
            It could not be written.
        """
        path = self.file(kind, name)
        descriptor, unfinished = temporary(path.parent)
        try:
            try:
                write(descriptor, pieces, abandon)
                os.fsync(descriptor)
                with self.lock(exclusive=False, seconds=PUBLISHING):
                    # Under the lock, or an eviction might take the parent just now.
                    if parent is not None and not self.has(kind, parent):
                        discard(unfinished)
                        return False
                    os.rename(unfinished, path)
            except BaseException:
                discard(unfinished)
                raise
        finally:
            os.close(descriptor)
        sync(path.parent)
        return True

    def remove(self, kind: Kind, name: bytes) -> bool:
        """Remove an entry; False when it is still there."""
        try:
            os.unlink(self.file(kind, name))
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def remove_temporaries(self, older: float = STALE) -> tuple[int, int]:
        """Remove what dead writers left behind; returns how many files and bytes.

        Parameters
        ----------
        older : float
            Seconds since it was last written to.
        """
        count = n_bytes = 0
        for kind in Kind:
            for item in self._listed(kind):
                if not item.name.startswith(TEMPORARY):
                    continue
                with contextlib.suppress(OSError):
                    stat = item.stat(follow_symlinks=False)
                    age = time.time() - stat.st_mtime
                    # A clock that went back makes a file young for long.
                    if (age >= older or not older) and remove_abandoned(item.path, age):
                        count += 1
                        n_bytes += stat.st_size
        return count, n_bytes

    @contextlib.contextmanager
    def lock(self, *, exclusive: bool, seconds: float) -> Iterator[bool]:
        """Keep evictions and publications apart: many may publish, or one may evict.

        Gives False when the lock could not be had within `seconds`, and True where the file system
        has no locks.
        """
        try:
            descriptor = os.open(self._versioned / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            descriptor = None
        if descriptor is None:
            yield True
            return
        try:
            yield locked(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, seconds)
        finally:
            # Closing it would leave the lock to a child that was forked meanwhile and has a copy.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def stamp_of(found: os.stat_result) -> tuple[int, int]:
    """See `Record.stamp`."""
    return found.st_ino, found.st_ctime_ns


def _name(file: str) -> bytes | None:
    """The name in a file's name; None when it is not one of ours."""
    stem = file.removesuffix(SUFFIX)
    if stem == file:
        return None
    try:
        name = bytes.fromhex(stem)
    except ValueError:
        return None
    return name if name.hex() == stem else None
