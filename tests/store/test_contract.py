"""What every caller of the store relies on, for every kind."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from llmagic.store import TOUCH_SECONDS, Kind, New, Store, root
from llmagic.store.container import VERSION
from tests.store.conftest import MIB, Open, Opened, arrays_of, same
from tests.store.holding import held

A, B, C = b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32


@pytest.fixture(params=Kind, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


def test_what_is_put_is_found_again_by_another_store(open_store: Open, kind: Kind):
    writer = open_store()
    assert not writer.store.has(kind, A)
    assert writer.put_now(kind, A, 1, meta={"model": "tö{y}\n\ud800", "notebook": ""})
    reader = open_store().store
    assert reader.has(kind, A)
    assert reader.meta(kind, A) == {"model": "tö{y}\n\ud800", "notebook": ""}
    entry = reader.get(kind, A)
    assert entry is not None
    assert same(entry.arrays, arrays_of(kind, 1))
    assert not any(array.flags.writeable for array in entry.arrays.values())
    assert entry.meta == reader.meta(kind, A)
    assert not writer.warnings


def test_what_is_missing_is_missing_without_a_word(opened: Opened, kind: Kind):
    assert not opened.store.has(kind, A)
    assert opened.store.meta(kind, A) is None
    assert opened.store.header(kind, A) is None
    assert opened.store.get(kind, A) is None
    assert opened.store.remove(kind, A)
    assert not opened.warnings


def test_kinds_and_names_are_apart(opened: Opened):
    for seed, kind in enumerate(Kind):
        assert opened.put_now(kind, A, seed)
        assert opened.put_now(kind, B, seed + 10)
    for seed, kind in enumerate(Kind):
        for name, expected in ((A, seed), (B, seed + 10)):
            entry = opened.store.get(kind, name)
            assert entry is not None
            assert same(entry.arrays, arrays_of(kind, expected))


def test_any_type_and_shape_comes_back_aligned(opened: Opened):
    codes = "?", "u1", "i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8"
    arrays = {f"a{i}": np.arange(7).astype(code) for i, code in enumerate(codes)}
    arrays |= {
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 5), np.float32),
        "nan": np.array([np.nan, -0.0], np.float16),
        "strided": np.arange(24, dtype=np.int32).reshape(4, 6)[::2, ::3],
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    }
    opened.store.put(Kind.CHECKPOINT, A, arrays=arrays, meta={})
    opened.store.put(Kind.TURN, A, arrays={}, meta={})
    assert opened.store.flush(120)
    entry = opened.store.get(Kind.CHECKPOINT, A)
    assert entry is not None
    assert same(entry.arrays, arrays)
    assert all(array.flags.aligned and array.flags.c_contiguous for array in entry.arrays.values())
    nothing = opened.store.get(Kind.TURN, A)
    assert nothing is not None
    assert nothing.arrays == {}


def test_files_are_safetensors(opened: Opened, kind: Kind):
    assert opened.put_now(kind, A, 1)
    assert same(load_file(opened.file(kind, A)), arrays_of(kind, 1))


def test_only_this_user_can_read_it(opened: Opened, tmp_path: Path):
    opened.put_now(Kind.TURN, A)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("arrays", "meta", "error"),
    [
        ({"a": np.array(["text"])}, {}, TypeError),
        ({"a": np.array([1], ">i4")}, {}, TypeError),
        ({"a": np.array([object()])}, {}, TypeError),
        ({"__metadata__": np.array([1])}, {}, ValueError),
        ({}, {"a": 1}, TypeError),
        ({}, {"parent": ""}, ValueError),
        ({}, {"llmagic.kind": ""}, ValueError),
    ],
)
def test_what_no_file_can_hold_is_the_callers_mistake(opened: Opened, arrays, meta, error):
    with pytest.raises(error, match="expected"):
        opened.store.put(Kind.TURN, A, arrays=arrays, meta=meta)


# --- what is there already ------------------------------------------------------------------------


def test_the_same_again_is_not_written_but_marked_as_used(opened: Opened):
    assert opened.put_now(Kind.TURN, A, 1)
    file = opened.file(Kind.TURN, A)
    before = file.stat().st_ino
    os.utime(file, (1, 1))
    assert opened.put_now(Kind.TURN, A, 1)
    assert file.stat().st_ino == before
    assert time.time() - file.stat().st_mtime < 60


def test_reading_marks_as_used_at_most_once_a_minute(opened: Opened):
    opened.put_now(Kind.IMAGE, A)
    file = opened.file(Kind.IMAGE, A)
    now = time.time()
    os.utime(file, (now - 30, now - 30))
    before = file.stat().st_mtime_ns
    opened.store.get(Kind.IMAGE, A)
    assert file.stat().st_mtime_ns == before
    os.utime(file, (now - 90, now - 90))
    opened.store.get(Kind.IMAGE, A)
    assert file.stat().st_mtime > now - 5


def test_what_was_used_long_ago_is_not_remembered(opened: Opened, monkeypatch: pytest.MonkeyPatch):
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    name = b"".join([A, B])
    n_references = sys.getrefcount(name)
    assert opened.store.touch(Kind.TURN, name)
    now[0] += TOUCH_SECONDS / 2
    assert not opened.store.touch(Kind.TURN, name)
    now[0] += TOUCH_SECONDS / 2
    assert opened.store.touch(Kind.TURN, B)
    assert sys.getrefcount(name) == n_references
    assert opened.store.touch(Kind.TURN, name)


# --- the disk -------------------------------------------------------------------------------------


def test_bytes_are_on_the_disk_before_the_name_is_and_the_name_before_done(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
):
    opened.put_now(Kind.TURN, A)
    calls: list[str] = []
    fsync, rename, folder = os.fsync, os.rename, opened.file(Kind.TURN, B).parent

    def synced(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if not is_folder:
            (unfinished,) = folder.glob(".writing-*")
            assert os.fstat(descriptor).st_ino == unfinished.stat().st_ino
            assert os.fstat(descriptor).st_size > 600
        calls.append("folder" if is_folder else "file")
        fsync(descriptor)

    def renamed(source: str, target: Path) -> None:
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    opened.store.put(
        Kind.TURN,
        B,
        arrays=arrays_of(Kind.TURN),
        meta={},
        done=lambda written: calls.append(f"done {written}"),
    )
    assert opened.store.flush(120)
    assert calls == ["file", "rename", "folder", "done True"]
    assert not opened.warnings


# --- parents --------------------------------------------------------------------------------------


def test_a_parent_is_among_the_labels(opened: Opened):
    assert opened.put_now(Kind.CHECKPOINT, A)
    assert opened.put_now(Kind.CHECKPOINT, B, parent=A)
    assert opened.store.meta(Kind.CHECKPOINT, A) == {"model": "toy"}
    assert opened.store.meta(Kind.CHECKPOINT, B) == {"model": "toy", "parent": A.hex()}
    header = opened.store.header(Kind.CHECKPOINT, B)
    assert header is not None
    assert header.parent == A
    assert header.n_bytes == opened.file(Kind.CHECKPOINT, B).stat().st_size


def test_a_chain_is_written_in_one_go(opened: Opened):
    told = [
        opened.put(Kind.CHECKPOINT, A),
        opened.put(Kind.CHECKPOINT, B, parent=A),
        opened.put(Kind.CHECKPOINT, C, parent=B),
    ]
    assert opened.store.flush(120)
    assert told == [[True], [True], [True]]


def test_without_its_parent_nothing_is_written(opened: Opened):
    assert not opened.put_now(Kind.CHECKPOINT, B, parent=A)
    assert not opened.put_now(Kind.CHECKPOINT, C, parent=B)
    assert not [*opened.store.records()]
    assert not opened.warnings


def test_children_of_what_the_queue_refused_are_not_written(open_store: Open):
    opened = open_store(queue=4000)
    with held(opened.store):
        first = opened.put(Kind.CHECKPOINT, A, scale=2)
        refused = opened.put(Kind.CHECKPOINT, B, parent=A, scale=2)
        assert refused == [False]
        grandchild = opened.put(Kind.CHECKPOINT, C, parent=B, scale=0)
    assert opened.store.flush(120)
    assert (first, grandchild) == ([True], [False])
    assert [record.name for record in opened.store.records(Kind.CHECKPOINT)] == [A]


def test_an_orphan_is_written_again_with_its_new_parent(opened: Opened):
    assert opened.put_now(Kind.CHECKPOINT, A)
    assert opened.put_now(Kind.CHECKPOINT, B, 1, parent=A)
    assert opened.store.remove(Kind.CHECKPOINT, A)
    assert opened.put_now(Kind.CHECKPOINT, C)
    assert opened.put_now(Kind.CHECKPOINT, B, 2, parent=C)
    entry = opened.store.get(Kind.CHECKPOINT, B)
    assert entry is not None
    assert entry.meta["parent"] == C.hex()
    assert same(entry.arrays, arrays_of(Kind.CHECKPOINT, 2))


# --- the queue ------------------------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_recovers(open_store: Open):
    opened = open_store(queue=10_000)
    with held(opened.store):
        start = time.monotonic()
        told = [opened.put(Kind.CHECKPOINT, bytes([i]), i) for i in range(20)]
        assert time.monotonic() - start < 2
        assert opened.store.pending_bytes == 5 * 1900
        assert told == [[]] * 5 + [[False]] * 15
    assert opened.store.flush(120)
    assert told[:5] == [[True]] * 5
    assert opened.store.pending_bytes == 0
    assert opened.put_now(Kind.CHECKPOINT, b"\x13", 19)
    assert not opened.warnings


def test_one_entry_larger_than_the_queue_is_written_when_nothing_waits(open_store: Open):
    opened = open_store(queue=1000)
    assert opened.put_now(Kind.CHECKPOINT, A)
    assert opened.store.has(Kind.CHECKPOINT, A)


def put_rows_and_state(opened: Opened, name: bytes, n_rows: int, n_state: int) -> list[list[bool]]:
    """Put both as one; the lists get what `done` was told of each."""
    told: list[list[bool]] = [[], []]
    sizes = {Kind.CHECKPOINT: n_rows, Kind.STATE: n_state}
    opened.store.put_together(
        [
            New(kind, name, {"bytes": np.zeros(size, np.uint8)}, {}, done=each.append)
            for (kind, size), each in zip(sizes.items(), told, strict=True)
        ]
    )
    return told


def test_a_state_larger_than_the_queue_is_written_with_its_rows(open_store: Open):
    opened = open_store(queue=1_000_000)
    told = put_rows_and_state(opened, A, 50_000, 1_200_000)
    assert opened.store.flush(120)
    assert told == [[True], [True]]
    assert opened.store.has(Kind.STATE, A)


def test_turns_and_their_pictures_are_accepted_beside_any_checkpoint(open_store: Open):
    """They are put once; a checkpoint comes again with the next that stands on it."""
    opened = open_store(queue=1_000_000)
    with held(opened.store):
        large = put_rows_and_state(opened, A, 50_000, 1_200_000)
        assert opened.put(Kind.CHECKPOINT, B) == [False]
        once = [Kind.TURN, Kind.ASKED, Kind.IMAGE, Kind.EMBEDDING]
        told = [opened.put(kind, A) for kind in once]
    assert opened.store.flush(120)
    assert large == [[True], [True]]
    assert told == [[True]] * 4


def test_pictures_that_wait_are_bounded(open_store: Open):
    opened = open_store(queue=20_000)
    with held(opened.store):
        told = [opened.put(Kind.EMBEDDING, bytes([i]), scale=9) for i in range(4)]  # 9,216 each
        assert told == [[], [], [False], [False]]
        checkpoint = opened.put(Kind.CHECKPOINT, A)
        turns = [opened.put(Kind.TURN, bytes([i]), scale=10) for i in range(20)]
    assert opened.store.flush(120)
    assert checkpoint == [True]
    assert turns == [[True]] * 20


def test_rows_are_refused_with_their_state(open_store: Open):
    opened = open_store(queue=1_000_000, budget=2_000_000)
    with held(opened.store):
        assert opened.put(Kind.CHECKPOINT, B) == []
        assert put_rows_and_state(opened, A, 50_000, 1_200_000) == [[False], [False]]
    assert opened.store.flush(120)
    assert put_rows_and_state(opened, A, 50_000, 2_000_000) == [[False], [False]]
    assert [record.name for record in opened.store.records(Kind.CHECKPOINT)] == [B]


def test_what_follows_something_that_is_not_written_is_not_written(opened: Opened):
    told: list[tuple[Kind, bool]] = []
    opened.store.put_together(
        [
            New(kind, A, {}, {}, parent, lambda written, kind=kind: told.append((kind, written)))
            for kind, parent in ((Kind.CHECKPOINT, B), (Kind.STATE, None))
        ]
    )
    assert opened.put_now(Kind.STATE, B)
    assert told == [(Kind.CHECKPOINT, False), (Kind.STATE, False)]
    assert [record.name for record in opened.store.records()] == [B]


def test_one_entry_larger_than_the_budget_is_refused(open_store: Open):
    opened = open_store(budget=1000)
    assert not opened.put_now(Kind.CHECKPOINT, A)
    assert not opened.store.has(Kind.CHECKPOINT, A)
    assert not opened.warnings


def test_what_waits_is_read_as_it_was_put_last(opened: Opened):
    assert opened.put_now(Kind.TURN, A, 1)
    with held(opened.store):
        assert opened.store.remove(Kind.TURN, A)
        assert opened.store.get(Kind.TURN, A) is None
        opened.put(Kind.TURN, A, 2)
        opened.put(Kind.CHECKPOINT, B, 3, parent=A)
        waiting = opened.store.get(Kind.TURN, A), opened.store.get(Kind.CHECKPOINT, B)
        assert not opened.store.has(Kind.TURN, A)
        opened.store.remove(Kind.CHECKPOINT, B)
        assert opened.store.get(Kind.CHECKPOINT, B) is None
    assert opened.store.flush(120)
    assert opened.store.has(Kind.TURN, A)
    turn, checkpoint = waiting
    assert turn is not None
    assert same(turn.arrays, arrays_of(Kind.TURN, 2))
    assert checkpoint is not None
    assert checkpoint.meta["parent"] == A.hex()


def test_what_is_removed_while_it_waits_is_not_written(opened: Opened):
    with held(opened.store):
        told = [opened.put(kind, name) for kind in (Kind.TURN, Kind.IMAGE) for name in (A, B)]
        rows = put_rows_and_state(opened, C, 1000, 1000)
        assert opened.store.remove(Kind.TURN, A)
        assert opened.store.remove(Kind.CHECKPOINT, C)
        assert told[0] == rows[0] == rows[1] == [False]
        assert opened.store.pending[Kind.CHECKPOINT] == opened.store.pending[Kind.STATE] == 0
        again = opened.put(Kind.CHECKPOINT, C)
    assert opened.store.flush(120)
    assert told == [[False], [True], [True], [True]]
    assert again == [True]
    assert not opened.store.has(Kind.TURN, A)
    assert not opened.store.has(Kind.STATE, C)
    assert opened.store.has(Kind.CHECKPOINT, C)
    assert opened.store.pending_bytes == 0


@pytest.mark.parametrize("again", [False, True])
def test_what_is_removed_while_it_is_written_is_not_there_afterwards(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, again: bool
):
    going, free = threading.Event(), threading.Event()
    real = os.fsync

    def slow(descriptor: int) -> None:
        going.set()
        assert free.wait(300)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    told = put_rows_and_state(opened, A, 1000, 1000)
    assert going.wait(300)
    assert opened.store.remove(Kind.CHECKPOINT, A)
    once_more = opened.put(Kind.CHECKPOINT, A, 1) if again else []
    free.set()
    assert opened.store.flush(120)
    assert told == [[False], [False]]
    assert once_more == [True] * again
    assert [record.kind for record in opened.store.records()] == [Kind.CHECKPOINT] * again


def test_the_thread_ends_with_the_queue(opened: Opened):
    opened.put_now(Kind.TURN, A)
    assert not [t for t in threading.enumerate() if t.name == "llmagic-store"]
    assert opened.put_now(Kind.TURN, B)


def test_flush_says_when_it_took_too_long(opened: Opened):
    with held(opened.store):
        opened.put(Kind.TURN, A)
        assert not opened.store.flush(0.05)
    assert opened.store.flush(120)


def test_close_drops_whole_files(open_store: Open, monkeypatch: pytest.MonkeyPatch):
    opened = open_store()
    going = threading.Event()
    real = os.write

    def slow(descriptor: int, data: bytes) -> int:
        going.set()
        time.sleep(0.02)
        return real(descriptor, data[:100])

    monkeypatch.setattr(os, "write", slow)
    told = [opened.put(Kind.CHECKPOINT, bytes([i]), i, scale=100) for i in range(5)]
    assert going.wait(300)
    opened.store.close(0.1)
    assert told == [[False]] * 5
    assert not [path for path in opened.store.path.rglob("*") if path.is_file() and path.suffix]
    assert opened.store.pending_bytes == 0
    # Nothing is accepted any more, but reading goes on.
    assert opened.put(Kind.TURN, A) == [False]
    assert opened.store.get(Kind.TURN, A) is None
    assert not opened.warnings


def test_close_waits_for_the_queue(opened: Opened):
    told = [opened.put(Kind.CHECKPOINT, bytes([i]), i) for i in range(50)]
    opened.store.close()
    assert told == [[True]] * 50


def test_a_callback_that_raises_stops_nothing(opened: Opened):
    def done(_: bool) -> None:
        raise RuntimeError("a bug")

    opened.store.put(Kind.TURN, A, arrays={}, meta={}, done=done)
    assert opened.put_now(Kind.TURN, B)
    assert opened.store.has(Kind.TURN, A)
    (warning,) = opened.warnings
    assert "a bug" in warning


def test_many_threads_may_put_and_get(opened: Opened):
    wrong: list[bytes] = []

    def work(start: int) -> None:
        for i in range(start, start + 30):
            name = bytes([i % 40])
            opened.put(Kind.IMAGE, name, i % 40)
            entry = opened.store.get(Kind.IMAGE, name)
            if entry is not None and not same(entry.arrays, arrays_of(Kind.IMAGE, i % 40)):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(i * 7,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened.store.flush(120)
    assert not wrong
    assert not opened.warnings


# --- what it says about itself --------------------------------------------------------------------


def test_usage_counts_what_is_there(opened: Opened):
    for seed in range(3):
        opened.put_now(Kind.TURN, bytes([seed]), seed)
    opened.put_now(Kind.IMAGE, A)
    usage = opened.store.usage()
    files = {kind: [*(opened.store.path / "v1" / kind).iterdir()] for kind in Kind}
    for kind in Kind:
        sizes = [path.stat().st_size for path in files[kind]]
        assert usage[kind] == (len(sizes), sum(sizes))
    assert usage[Kind.TURN].files == 3


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LLMAGIC_STORE", str(tmp_path / "here"))
    assert root() == tmp_path / "here"
    monkeypatch.delenv("LLMAGIC_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert root().parts[-2:] == ("llmagic", "store")


def test_the_folder_names_the_version(opened: Opened):
    assert (opened.store.path / f"v{VERSION}").is_dir()


def test_folders_that_are_there_keep_their_mode(tmp_path: Path):
    (tmp_path / "store").mkdir(mode=0o750)
    Store(tmp_path / "store", budget=MIB, warn=print)
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o750
