"""Disks that refuse: writing goes off with one warning, reading goes on, nothing is raised."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llmagic.store import Kind
from llmagic.store.folder import Folder
from tests.notebook.kernel import Kernel
from tests.store.conftest import Open, Opened, arrays_of, same
from tests.store.mounting import Mount

PROJECT = Path(__file__).parents[2]
A, B, C = b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32


def still_reads(opened: Opened, kind: Kind, name: bytes, seed: int) -> bool:
    entry = opened.store.get(kind, name)
    return entry is not None and same(entry.arrays, arrays_of(kind, seed))


def is_off(opened: Opened, reason: str) -> None:
    """Writing is off, and the user was told so once."""
    assert not opened.store.writes
    for seed in range(5):
        assert opened.put(Kind.TURN, bytes([seed]), seed) == [False]
    assert opened.store.flush(120)
    (warning,) = opened.warnings
    assert reason in warning
    assert opened.store.pending_bytes == 0


# --- a full disk ----------------------------------------------------------------------------------


def test_a_full_disk(open_store: Open, mount: Mount):
    opened = open_store(mount("size=2m") / "store")
    told = [opened.put(Kind.CHECKPOINT, bytes([i]), i, scale=100) for i in range(20)]
    assert opened.store.flush(120)
    written = [each == [True] for each in told]
    n_written = sum(written)
    assert 5 <= n_written <= 11
    assert written == sorted(written, reverse=True)
    is_off(opened, "No space left")
    assert len([*opened.store.records()]) == n_written
    for seed in range(n_written):
        entry = opened.store.get(Kind.CHECKPOINT, bytes([seed]))
        assert entry is not None
        assert same(entry.arrays, arrays_of(Kind.CHECKPOINT, seed, 100))
    # What did not fit left nothing behind, not even half of it.
    assert not [*opened.store.path.rglob(".writing-*")]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_an_error_while_writing(opened: Opened, monkeypatch, call: str, number: int):
    opened.put_now(Kind.TURN, A, 1)

    def failing(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, failing)
    assert not opened.put_now(Kind.TURN, B, 2)
    is_off(opened, os.strerror(number))
    assert still_reads(opened, Kind.TURN, A, 1)
    assert not opened.store.has(Kind.TURN, B)
    assert not [*opened.store.path.rglob(".writing-*")]


def test_what_waits_when_writing_goes_off_is_dropped(opened: Opened, monkeypatch):
    reached, free = threading.Event(), threading.Event()

    def failing(*_: object) -> int:
        reached.set()
        assert free.wait(300)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", failing)
    told = [opened.put(Kind.TURN, bytes([i + 50]), i) for i in range(5)]
    assert reached.wait(300)
    free.set()
    assert opened.store.flush(120)
    assert told == [[False]] * 5
    is_off(opened, "No space left")


# --- a store that cannot be written to ------------------------------------------------------------


def test_a_read_only_disk(open_store: Open, mount: Mount):
    folder = mount("size=2m") / "store"
    before = open_store(folder)
    before.put_now(Kind.IMAGE, A, 1)
    os.utime(before.file(Kind.IMAGE, A), (1, 1))
    mount("ro,size=2m")
    for opened in (before, open_store(folder)):
        assert opened.store.usable
        assert still_reads(opened, Kind.IMAGE, A, 1)
        assert not opened.warnings
        assert not opened.put_now(Kind.IMAGE, B, 2)
        assert still_reads(opened, Kind.IMAGE, A, 1)
        is_off(opened, "Read-only file system")
    mount("rw,size=2m")
    before.file(Kind.IMAGE, A).write_bytes(b"damaged")
    mount("ro,size=2m")
    assert before.store.get(Kind.IMAGE, A) is None
    assert before.store.get(Kind.IMAGE, A) is None
    assert len(before.warnings) == 2


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_files_that_cannot_be_made(open_store: Open, monkeypatch, number: int):
    open_store().put_now(Kind.TURN, A, 1)
    real = os.open

    def open_(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", open_)
    opened = open_store()
    assert not opened.put_now(Kind.TURN, B, 2)
    assert still_reads(opened, Kind.TURN, A, 1)
    is_off(opened, os.strerror(number))


def test_a_folder_without_permission(open_store: Open, tmp_path: Path):
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("this user may write anywhere")
    opened = open_store(tmp_path / "locked" / "store")
    assert not opened.store.usable
    assert not opened.put_now(Kind.TURN, A)
    assert len(opened.warnings) == 1


# --- no store -------------------------------------------------------------------------------------


def test_where_no_folder_can_be(open_store: Open, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        opened = open_store(path)
        assert not opened.store.usable
        assert not opened.store.has(Kind.TURN, A)
        assert opened.store.get(Kind.TURN, A) is None
        assert opened.store.meta(Kind.TURN, A) is None
        assert opened.store.usage()[Kind.TURN] == (0, 0)
        assert [*opened.store.records()] == []
        is_off(opened, "nothing is kept on disk")


def test_a_missing_store_is_made(open_store: Open, tmp_path: Path):
    opened = open_store(tmp_path / "a" / "b" / "c")
    assert opened.store.usable
    assert opened.put_now(Kind.TURN, A)


def test_a_store_removed_while_it_runs_is_made_again(opened: Opened):
    for kind in (Kind.CHECKPOINT, Kind.TURN):
        assert opened.put_now(kind, A, 1)
    shutil.rmtree(opened.store.path)
    assert opened.store.get(Kind.CHECKPOINT, A) is None
    assert opened.put_now(Kind.TURN, B, 2)
    assert still_reads(opened, Kind.TURN, B, 2)
    # The parent went with the store.
    assert not opened.put_now(Kind.CHECKPOINT, B, parent=A)
    assert opened.put_now(Kind.CHECKPOINT, A, 1)
    assert opened.put_now(Kind.CHECKPOINT, B, 2, parent=A)
    assert not opened.warnings


def test_a_store_that_becomes_a_file_while_it_runs(opened: Opened):
    opened.put_now(Kind.TURN, A, 1)
    shutil.rmtree(opened.store.path)
    opened.store.path.write_text("a file")
    assert not opened.put_now(Kind.TURN, B, 2)
    assert opened.store.get(Kind.TURN, A) is None
    is_off(opened, "")


def test_a_store_removed_again_and_again(opened: Opened):
    """Whatever the moment: written, refused or off, and never an error."""
    stop = threading.Event()

    def remove() -> None:
        while not stop.is_set():
            shutil.rmtree(opened.store.path, ignore_errors=True)

    remover = threading.Thread(target=remove)
    remover.start()
    told = []
    try:
        for seed in range(100):
            told.append(opened.put(Kind.CHECKPOINT, bytes([seed]), seed))
            entry = opened.store.get(Kind.CHECKPOINT, bytes([seed // 2]))
            assert entry is None or same(entry.arrays, arrays_of(Kind.CHECKPOINT, seed // 2))
            opened.store.usage()
        assert opened.store.flush(120)
    finally:
        stop.set()
        remover.join()
    assert all(len(each) == 1 for each in told)
    assert len(opened.warnings) == (not opened.store.writes)


def test_file_systems_without_locks(open_store: Open, monkeypatch: pytest.MonkeyPatch):
    import fcntl

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    opened = open_store(budget=20_000)
    for seed in range(20):
        assert opened.put_now(Kind.CHECKPOINT, bytes([seed]), seed)
    assert sum(record.n_bytes for record in opened.store.records()) <= 20_000
    assert not opened.warnings


# --- the end of a process -------------------------------------------------------------------------

PROGRAM = """
import os, sys, time
from pathlib import Path
from llmagic.store import Kind, Store
from llmagic.store import writer
from tests.store.conftest import arrays_of
store = Store(Path(sys.argv[1]), budget=1 << 30, warn=print)
{body}
"""


def run(body: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=PROJECT,
        check=True,
    )


PATIENT = """
writer.EXIT_SECONDS = 120.0  # the disk may be busy
"""

PUT_30 = """
for i in range(30):
    store.put(Kind.CHECKPOINT, bytes([i]), arrays=arrays_of(Kind.CHECKPOINT, i, 20), meta={})
"""


@pytest.mark.parametrize("end", ["", "sys.exit(3 - 3)", "1 / 1", "del store"])
def test_an_exit_waits_for_the_queue(open_store: Open, tmp_path: Path, end: str):
    done = run(PATIENT + PUT_30 + end, tmp_path / "store")
    assert (done.stdout, done.stderr) == ("", "")
    opened = open_store()
    for seed in range(30):
        entry = opened.store.get(Kind.CHECKPOINT, bytes([seed]))
        assert entry is not None
        assert same(entry.arrays, arrays_of(Kind.CHECKPOINT, seed, 20))


def test_an_exit_does_not_wait_for_ever(open_store: Open, tmp_path: Path):
    body = """
assert writer.EXIT_SECONDS == 5.0
writer.EXIT_SECONDS = 1.0
real = os.write
def slow(descriptor, data):
    time.sleep(0.2)
    return real(descriptor, data[:100])
os.write = slow
start = time.monotonic()
import atexit
atexit.register(lambda: print(time.monotonic() - start, flush=True))
"""
    done = run(body + PUT_30, tmp_path / "store")
    # All of it would take more than half an hour.
    assert 0.9 < float(done.stdout) < 200
    assert done.stderr == ""
    opened = open_store()
    assert not [*opened.store.records()]
    assert not [*opened.store.path.rglob(".writing-*")]


def test_a_forked_child_reads_and_writes_nothing(open_store: Open, tmp_path: Path):
    body = """
store.put(Kind.TURN, b"a", arrays=arrays_of(Kind.TURN, 1), meta={})
assert store.flush(120)
# Forked while the thread has work and its lock may be held.
for i in range(50):
    store.put(Kind.CHECKPOINT, bytes([i]), arrays=arrays_of(Kind.CHECKPOINT, i, 20), meta={})
children = []
for _ in range(5):
    child = os.fork()
    if child == 0:
        told = []
        store.put(Kind.TURN, b"b", arrays={}, meta={}, done=told.append)
        assert told == [False]
        assert store.get(Kind.TURN, b"a") is not None
        assert store.flush(1)
        start = time.monotonic()
        store.close()
        assert time.monotonic() - start < 0.5
        sys.exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
assert store.flush(120)
print(store.usage()[Kind.CHECKPOINT].files, store.has(Kind.TURN, b"b"))
"""
    assert run(body, tmp_path / "store").stdout == "50 False\n"


def test_a_lock_ends_though_a_forked_child_has_a_copy_of_its_file(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
):
    folder, copies, real = Folder(opened.store.path), list[int](), os.open

    def copied(path: Path, *how: int) -> int:
        copies.append(os.dup(descriptor := real(path, *how)))
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", copied)
        with folder.lock(exclusive=True, seconds=1) as mine:
            assert mine
    with folder.lock(exclusive=True, seconds=0) as again:
        assert again
    for copy in copies:
        os.close(copy)


def test_a_kernel_that_shuts_down_waits_for_the_queue(open_store: Open, tmp_path: Path):
    kernel = Kernel(PROJECT)
    try:
        code = PROGRAM.format(body=PATIENT + PUT_30).replace(
            "sys.argv[1]", repr(str(tmp_path / "store"))
        )
        assert kernel.run(code).error is None
        kernel.stop(gently=True)
    finally:
        kernel.stop()
    assert len([*open_store().store.records()]) == 30


# --- what others left behind ----------------------------------------------------------------------


def test_old_leftovers_are_removed_at_the_first_write(open_store: Open):
    first = open_store()
    old, young = (first.store.path / "v1" / "turns" / f".writing-{i}" for i in range(2))
    for path in (old, young):
        path.write_bytes(b"half of it")
    os.utime(old, (1, 1))
    open_store().put_now(Kind.TURN, A)
    assert (old.exists(), young.exists()) == (False, True)


def test_what_somebody_writes_just_now_stays(open_store: Open, tmp_path: Path):
    from llmagic.store.files import temporary

    opened = open_store()
    descriptor, path = temporary(opened.store.path / "v1" / "turns")
    os.utime(path, (1, 1))
    folder = Folder(opened.store.path)
    assert folder.remove_temporaries(older=0.0) == (0, 0)
    assert Path(path).exists()
    os.close(descriptor)
    assert folder.remove_temporaries(older=0.0) == (1, 0)
    assert not Path(path).exists()
