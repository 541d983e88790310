"""Over the budget the least recently used leaves go first, and never a parent before its child."""

from __future__ import annotations

import os
from pathlib import Path

from llmagic.store import Kind, eviction, folder
from llmagic.store.folder import Folder
from tests.store.conftest import Open, Opened


def room(open_store: Open, tmp_path: Path, files: int) -> int:
    """A budget that holds so many checkpoints, after an eviction too (which goes below it)."""
    opened = open_store(tmp_path / "other")
    opened.put_now(Kind.CHECKPOINT, b"\0")
    opened.put_now(Kind.CHECKPOINT, b"\1", parent=b"\0")
    sizes = {record.n_bytes for record in opened.store.records()}
    assert max(sizes) - min(sizes) <= 64
    return max(sizes) * files * 32 // 31 + 1


def there(opened: Opened, kind: Kind = Kind.CHECKPOINT) -> set[int]:
    return {record.name[0] for record in opened.store.records(kind)}


def age(opened: Opened, number: int, seconds: int, kind: Kind = Kind.CHECKPOINT) -> None:
    file = opened.file(kind, bytes([number]))
    then = file.stat().st_mtime - seconds
    os.utime(file, (then, then))


def put_chain(opened: Opened, numbers: range) -> list[bool]:
    above = [None, *[bytes([number]) for number in numbers]]
    return [
        opened.put_now(Kind.CHECKPOINT, bytes([number]), number, parent=parent)
        for number, parent in zip(numbers, above, strict=False)
    ]


def test_the_least_recently_used_goes_first(open_store: Open, tmp_path: Path):
    budget = room(open_store, tmp_path, 4)
    opened = open_store(budget=budget)
    for number in range(4):
        opened.put_now(Kind.CHECKPOINT, bytes([number]), number)
        age(opened, number, 1000 - number)
    opened.store.get(Kind.CHECKPOINT, b"\0")
    opened.put_now(Kind.CHECKPOINT, b"\4", 4)
    assert there(opened) == {0, 2, 3, 4}


def test_an_old_parent_stays_while_its_child_does(open_store: Open, tmp_path: Path):
    budget = room(open_store, tmp_path, 4)
    opened = open_store(budget=budget)
    put_chain(opened, range(3))
    for number in range(3):
        age(opened, number, 5000)
    opened.store.get(Kind.CHECKPOINT, b"\2")
    opened.put_now(Kind.CHECKPOINT, b"\x09", 9)
    age(opened, 9, 100)
    opened.put_now(Kind.CHECKPOINT, b"\x0a", 10)
    # 9 is the oldest that nothing stands on, though 0 and 1 are older.
    assert there(opened) == {0, 1, 2, 10}


def test_a_chain_goes_from_its_end(open_store: Open, tmp_path: Path):
    budget = room(open_store, tmp_path, 5)
    opened = open_store(budget=budget)
    put_chain(opened, range(4))
    for number in range(4):
        age(opened, number, 5000)
    for number in (10, 11, 12):
        opened.put_now(Kind.CHECKPOINT, bytes([number]), number)
    assert there(opened) == {0, 1, 10, 11, 12}


def test_a_chain_larger_than_the_budget_keeps_its_beginning(open_store: Open, tmp_path: Path):
    budget = room(open_store, tmp_path, 4)
    opened = open_store(budget=budget)
    put_chain(opened, range(8))
    assert there(opened) == {0, 1, 2, 3}


def test_the_newest_stays_if_it_can(open_store: Open):
    """An eviction goes below the budget, but not at the expense of what it was done for."""
    opened = open_store()
    opened.put_now(Kind.TURN, b"\0")
    put_chain(opened, range(2))
    n_bytes = sum(record.n_bytes for record in opened.store.records(Kind.CHECKPOINT))
    opened.store.remove(Kind.CHECKPOINT, b"\1")
    small = open_store(budget=n_bytes)
    assert small.put_now(Kind.CHECKPOINT, b"\1", 1, parent=b"\0")
    assert there(small) == {0, 1}
    assert not there(small, Kind.TURN)


def test_all_kinds_share_the_budget(open_store: Open, tmp_path: Path):
    budget = room(open_store, tmp_path, 4)
    opened = open_store(budget=budget)
    for kind in (Kind.IMAGE, Kind.EMBEDDING, Kind.TURN, Kind.ASKED):
        opened.put_now(kind, b"\0")
        age(opened, 0, 1000, kind)
    for number in range(4):
        opened.put_now(Kind.CHECKPOINT, bytes([number]), number)
    assert sum(usage.n_bytes for usage in opened.store.usage().values()) <= budget
    assert there(opened) == {0, 1, 2, 3}
    assert not there(opened, Kind.IMAGE)


def test_what_other_processes_wrote_counts(open_store: Open, tmp_path: Path):
    budget = room(open_store, tmp_path, 40)
    one, other = open_store(budget=budget), open_store(budget=budget)
    one.put_now(Kind.CHECKPOINT, b"\0")
    for number in range(1, 40):
        other.put_now(Kind.CHECKPOINT, bytes([number]), number)
    for number in range(100, 105):
        one.put_now(Kind.CHECKPOINT, bytes([number]), number)
    assert sum(record.n_bytes for record in one.store.records()) <= budget


def test_while_another_evicts_writing_goes_on(open_store: Open, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(folder, "PUBLISHING", 0.2)
    monkeypatch.setattr(eviction, "EVICTING", 0.2)
    budget = room(open_store, tmp_path, 3)
    opened = open_store(budget=budget)
    put_chain(opened, range(3))
    with Folder(opened.store.path).lock(exclusive=True, seconds=1) as mine:
        assert mine
        with Folder(opened.store.path).lock(exclusive=True, seconds=0) as taken:
            assert not taken
        # It waits for the other at most some seconds, and goes on without evicting.
        told = opened.put(Kind.TURN, b"\0", scale=20)
        assert opened.store.flush(120)
        assert told == [True]
    assert not opened.warnings
    opened.put_now(Kind.TURN, b"\1", 1)
    assert sum(record.n_bytes for record in opened.store.records()) <= budget


def test_nothing_is_published_during_an_eviction(opened: Opened):
    """It would look whether a child is there, and then remove the parent."""
    opened.put_now(Kind.CHECKPOINT, b"\0")
    with Folder(opened.store.path).lock(exclusive=True, seconds=1):
        told = opened.put(Kind.CHECKPOINT, b"\1", 1, parent=b"\0")
        assert not opened.store.flush(0.3)
        assert there(opened) == {0}
    assert opened.store.flush(120)
    assert told == [True]


def test_a_child_is_not_left_without_the_parent_that_goes_meanwhile(opened: Opened, monkeypatch):
    """An eviction takes the parent after the child's bytes were written, before they are there."""
    opened.put_now(Kind.CHECKPOINT, b"\0")

    def fsync(_: int) -> None:
        opened.store.remove(Kind.CHECKPOINT, b"\0")

    monkeypatch.setattr(os, "fsync", fsync)
    assert not opened.put_now(Kind.CHECKPOINT, b"\1", 1, parent=b"\0")
    assert not [*opened.store.records()]
    assert not [*opened.store.path.rglob(".writing-*")]
    assert not opened.warnings


def test_a_file_with_the_number_of_an_older_one_is_another(open_store: Open, tmp_path: Path):
    """File numbers are used again: what stood on one parent may stand on another now."""
    opened = open_store(budget=room(open_store, tmp_path, 4))
    put_chain(opened, range(2))
    opened.put_now(Kind.CHECKPOINT, b"\x0a", 10)
    for number in (20, 21):  # evictions: parents are known from here on
        opened.put_now(Kind.CHECKPOINT, bytes([number]), number)
        age(opened, number, 1000)
    opened.store.remove(Kind.CHECKPOINT, b"\1")
    opened.put_now(Kind.CHECKPOINT, b"\1", 1, parent=b"\x0a")
    for number in (0, 10):
        age(opened, number, 5000)
    opened.put_now(Kind.CHECKPOINT, b"\x16", 22)
    assert there(opened) == {1, 10, 21, 22}


def test_what_is_used_just_now_is_not_evicted(open_store: Open, tmp_path: Path, monkeypatch):
    budget = room(open_store, tmp_path, 3)
    opened = open_store(budget=budget)
    for number in range(3):
        opened.put_now(Kind.CHECKPOINT, bytes([number]), number)
        age(opened, number, 1000 - number)
    real = eviction.heapq.heapify

    def used_meanwhile(heap: list[object]) -> None:
        opened.store.get(Kind.CHECKPOINT, b"\0")
        real(heap)

    monkeypatch.setattr(eviction.heapq, "heapify", used_meanwhile)
    opened.put_now(Kind.CHECKPOINT, b"\3", 3)
    assert there(opened) == {0, 2, 3}
