"""Any order of puts, reads, evictions, damage and crashes, against a dictionary."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from llmagic.store import Kind, Store
from llmagic.store.container import pack
from llmagic.store.folder import Folder
from llmagic.store.upkeep import verify
from tests.store.conftest import same

NAMES = st.integers(0, 7)
KINDS = st.sampled_from([Kind.CHECKPOINT, Kind.CHECKPOINT, Kind.CHECKPOINT, Kind.TURN, Kind.IMAGE])
Key = tuple[Kind, int]


def arrays_of(kind: Kind, number: int) -> dict[str, np.ndarray]:
    size = (number * 397) % 1500 + 10
    return {"data": np.full(size, number + 16 * [*Kind].index(kind), np.uint8)}


@dataclass
class Expected:
    """What the dictionary knows of one file."""

    parent: int | None
    n_bytes: int
    used: int
    damaged: bool = False


class StoreMachine(RuleBasedStateMachine):
    """The dictionary evicts in the plainest way: look at everything, again for each victim."""

    @initialize(budget=st.sampled_from([3_000, 8_000, 20_000]))
    def begin(self, budget: int) -> None:
        self.parent_folder = Path(tempfile.mkdtemp())
        self.folder = self.parent_folder / "store"
        self.budget = budget
        self.clock = 1
        self.model: dict[Key, Expected] = {}
        self.leftovers = 0
        self.warnings: list[str] = []
        self.warned = 0
        self.open()

    def open(self) -> None:
        self.store = Store(self.folder, budget=self.budget, warn=self.warnings.append)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.parent_folder)

    # --- the dictionary's rules -----------------------------------------------------------------

    def whole(self, key: Key) -> bool:
        """Whether an entry's parent is there."""
        parent = self.model[key].parent
        return parent is None or (Kind.CHECKPOINT, parent) in self.model

    def cannot_be_written(self, parent: int | None, arrays: dict[str, np.ndarray]) -> bool:
        if sum(array.nbytes for array in arrays.values()) > self.budget:
            return True
        return parent is not None and (Kind.CHECKPOINT, parent) not in self.model

    def touch(self, key: Key) -> None:
        self.clock += 1
        self.model[key].used = self.clock

    def total(self) -> int:
        return sum(each.n_bytes for each in self.model.values())

    def evict(self, newest: Key) -> None:
        if self.total() <= self.budget:
            return
        while self.total() > self.budget - self.budget // 32:
            parents = {(Kind.CHECKPOINT, each.parent) for each in self.model.values()}
            leaves = [key for key in self.model if key not in parents]
            if self.total() <= self.budget and newest in leaves:
                leaves.remove(newest)
            if not leaves:
                break
            del self.model[min(leaves, key=lambda key: self.model[key].used)]

    # --- what can happen ------------------------------------------------------------------------

    @rule(number=NAMES, steps=st.integers(1, 7))
    def put_child(self, number: int, steps: int) -> None:
        """A parent is another checkpoint, of a lower number; it may be missing."""
        self.put(Kind.CHECKPOINT, number, number - steps if steps <= number else None)

    @rule(kind=KINDS, number=NAMES)
    def put_root(self, kind: Kind, number: int) -> None:
        self.put(kind, number, None)

    @rule(start=st.integers(0, 2))
    def put_chain(self, start: int) -> None:
        for number in range(start, 8, 2):
            self.put(Kind.CHECKPOINT, number, number - 2 if number > start else None)

    def put(self, kind: Kind, number: int, parent: int | None) -> None:
        key, name = (kind, number), bytes([number])
        arrays = arrays_of(kind, number)
        above_name = None if parent is None else bytes([parent])
        told: list[bool] = []
        self.store.put(kind, name, arrays=arrays, meta={}, parent=above_name, done=told.append)
        assert self.store.flush(120)
        if key in self.model and self.whole(key):
            assert told == [True]
            self.touch(key)
        elif self.cannot_be_written(parent, arrays):
            assert told == [False]
        else:
            assert told == [True]
            n_bytes = sum(map(len, pack(kind, name, arrays, {}, above_name)))
            self.model[key] = Expected(parent, n_bytes, 0)
            self.touch(key)
            self.evict(key)
        self.set_times()

    def set_times(self) -> None:
        """Time as the dictionary counts it: the disk's clock is too coarse to tell two apart."""
        for (kind, number), expected in self.model.items():
            path = self.path(kind, number)
            if path.exists():  # or the next look at both will say so
                os.utime(path, (expected.used, expected.used))

    def path(self, kind: Kind, number: int) -> Path:
        return self.folder / "v1" / kind / f"{number:02x}.safetensors"

    @rule(kind=KINDS, number=NAMES)
    def get(self, kind: Kind, number: int) -> None:
        entry = self.store.get(kind, bytes([number]))
        expected = self.model.get((kind, number))
        if expected is None:
            assert entry is None
        elif expected.damaged:
            assert entry is None
            del self.model[kind, number]
            self.warned += 1
        else:
            assert entry is not None
            assert same(entry.arrays, arrays_of(kind, number))
            self.touch((kind, number))
        self.set_times()

    @rule(kind=KINDS, number=NAMES)
    def look(self, kind: Kind, number: int) -> None:
        expected = self.model.get((kind, number))
        assert self.store.has(kind, bytes([number])) == (expected is not None)
        header = self.store.header(kind, bytes([number]))
        assert (header is None) == (expected is None)
        if header is not None and expected is not None:
            parent = expected.parent
            assert header.parent == (None if parent is None else bytes([parent]))
            assert header.n_bytes == expected.n_bytes

    @rule(kind=KINDS, number=NAMES)
    def damage(self, kind: Kind, number: int) -> None:
        if (kind, number) in self.model:
            path = self.path(kind, number)
            data = path.read_bytes()
            if not self.model[kind, number].damaged:
                path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            self.model[kind, number].damaged = True
            self.set_times()

    @rule(kind=KINDS, number=NAMES)
    def remove(self, kind: Kind, number: int) -> None:
        assert self.store.remove(kind, bytes([number]))
        self.model.pop((kind, number), None)

    @rule(kind=KINDS, n_bytes=st.integers(0, 100))
    def crash(self, kind: Kind, n_bytes: int) -> None:
        """A process ends in the middle of a file; another one goes on."""
        self.leftovers += 1
        folder = self.folder / "v1" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".writing-{self.leftovers}").write_bytes(b"x" * n_bytes)
        self.open()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @rule()
    def verify(self) -> None:
        report = verify(Folder(self.folder))
        damaged = {key for key, each in self.model.items() if each.damaged}
        for key in damaged:
            del self.model[key]
        orphans = set()
        while lost := {key for key in self.model if not self.whole(key)}:
            orphans |= lost
            for key in lost:
                del self.model[key]
        assert {(each.kind, each.name[0]) for each, _ in report.damaged} == damaged
        assert {(each.kind, each.name[0]) for each in report.orphans} == orphans
        assert report.temporaries == self.leftovers
        assert (report.files, report.n_bytes) == (len(self.model), self.total())
        assert report.is_well == (not damaged and not orphans)
        self.leftovers = 0

    @rule()
    def remove_all(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.model.clear()
        self.leftovers = 0

    # --- what always holds ----------------------------------------------------------------------

    @invariant()
    def the_disk_holds_what_the_dictionary_holds(self) -> None:
        if hasattr(self, "store"):
            there = {(record.kind, record.name[0]): record for record in self.store.records()}
            assert there.keys() == self.model.keys()
            assert self.total() <= self.budget
            assert len(self.warnings) == self.warned
            assert self.store.pending_bytes == 0


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on the power staying on."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.parametrize("examples", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_store_against_a_dictionary(examples: int):
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[*HealthCheck],
        ),
    )
