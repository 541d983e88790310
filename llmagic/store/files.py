"""Files that are written whole or not at all, by processes that do not know of each other.

A temporary file is locked by whoever writes it, so a lock that can be had means that its writer is
gone, on another machine, too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

TEMPORARY = ".writing-"
STALE = 3600.0
"""Seconds after which a temporary file is nobody's where locks are unknown."""

_CHUNK = 8 << 20
# Any other error of flock is a file system without locks. What they protect from is rare, and costs
# an entry at worst.
_TAKEN = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_ATTEMPTS = 8


class AbandonedError(Exception):
    """Writing was given up because the process is about to end."""


def temporary(folder: Path) -> tuple[int, str]:
    """A new temporary file: its descriptor, locked, and its path.

    Raises
    ------
    OSError
        It cannot be made.
    """
    for _ in range(_ATTEMPTS):
        path = str(folder / (TEMPORARY + secrets.token_hex(8)))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            # Somebody who tidies up may have it between its making and the lock.
            if locked(descriptor, fcntl.LOCK_EX, 0.0) and os.path.exists(path):
                return descriptor, path
        except BaseException:
            discard(path)
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(folder))


def discard(path: str) -> None:
    """Remove a file, where that is possible."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def remove_abandoned(path: str, age: float) -> bool:
    """Remove a temporary file, `age` seconds old, unless somebody is writing it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN or age < STALE:
                return False
        # Still under the lock: a writer that gets it next sees that its file is gone.
        os.unlink(path)
    finally:
        os.close(descriptor)
    return True


def locked(descriptor: int, operation: int, seconds: float) -> bool:
    """Lock a file, waiting at most so long; True where locks are unknown."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _TAKEN:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.002)
        else:
            return True


def write(descriptor: int, pieces: Sequence[memoryview], abandon: Callable[[], bool]) -> None:
    """Write pieces one after the other.

    Raises
    ------
    AbandonedError
        `abandon` said so.
    OSError
        They could not be written.
    """
    for piece in pieces:
        start = 0
        while start < len(piece):
            if abandon():
                raise AbandonedError
            start += os.write(descriptor, piece[start : start + _CHUNK])


def sync(folder: Path) -> None:
    """Make a rename last; some file systems cannot, and need not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
