"""A file that is not what was written is a miss with a warning: never an answer, never an error."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from llmagic.store import Kind
from tests.store.conftest import Open, Opened, arrays_of, same

A, B = b"\x0a" * 32, b"\x0b" * 32
FLIPS = 2000
TRUNCATIONS = 200


@pytest.fixture(params=Kind, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


@pytest.fixture
def good(opened: Opened, kind: Kind) -> bytes:
    """The bytes of a good file."""
    if kind is Kind.CHECKPOINT:
        opened.put_now(kind, B, 2)
    opened.put_now(kind, A, 1, parent=B if kind is Kind.CHECKPOINT else None)
    return opened.file(kind, A).read_bytes()


class Campaign:
    """Puts files in place of the good one and sees what is made of them."""

    def __init__(self, opened: Opened, kind: Kind, good: bytes) -> None:
        self.opened, self.kind = opened, kind
        self.file = opened.file(kind, A)
        self.meta = opened.store.meta(kind, A)
        assert self.meta is not None
        assert self.reads(good)

    def reads(self, data: bytes) -> bool:
        """Whether bytes are read as what was stored; labels are right or not read at all."""
        store, warnings = self.opened.store, self.opened.warnings
        warnings.clear()
        self.file.write_bytes(data)
        meta = store.meta(self.kind, A)
        assert meta in (None, self.meta)
        # The data may be damaged behind a good header; each of the two is said only once.
        assert len(warnings) == (meta is None)
        entry = store.get(self.kind, A)
        if entry is None:
            (warning,) = warnings
            assert "damaged" in warning
            assert self.file.name in warning
            assert not self.file.exists()
            return False
        assert not warnings
        assert entry.meta == self.meta
        assert same(entry.arrays, arrays_of(self.kind, 1))
        return True


def test_every_flipped_bit_is_seen(opened: Opened, kind: Kind, good: bytes):
    campaign = Campaign(opened, kind, good)
    noise = np.random.default_rng(7)
    # Every bit where the checksums are, every byte of the header, and then anything.
    flips = [(place, bit) for place in range(160) for bit in range(8)]
    flips += [(place, int(noise.integers(8))) for place in range(160, min(600, len(good)))]
    while len(flips) < FLIPS:
        flips.append((int(noise.integers(len(good))), int(noise.integers(8))))
    for place, bit in flips:
        damaged = bytearray(good)
        damaged[place] ^= 1 << bit
        assert not campaign.reads(damaged), f"bit {bit} of byte {place}"


def test_every_truncation_is_seen(opened: Opened, kind: Kind, good: bytes):
    campaign = Campaign(opened, kind, good)
    noise = np.random.default_rng(8)
    sizes = {0, 1, 7, 8, 9, 42, len(good) - 1, *range(TRUNCATIONS // 4)}
    while len(sizes) < min(TRUNCATIONS, len(good)):
        sizes.add(int(noise.integers(len(good))))
    for size in sizes:
        assert not campaign.reads(good[:size]), f"{size} bytes"


def test_other_damage_is_seen(opened: Opened, kind: Kind, good: bytes):
    campaign = Campaign(opened, kind, good)
    size = int.from_bytes(good[:8], "little")
    other = good.replace(b'"model":"toy"', b'"model":"boy"')
    assert other != good
    zeroed = bytearray(good)
    zeroed[43:75] = b"0" * 32
    for damaged in (
        good + b"\0",
        good + good,
        b"\0" * len(good),
        b"\xff" * len(good),
        bytes(8) + good[8:],
        (1 << 62).to_bytes(8, "little") + good[8:],
        (size + 1).to_bytes(8, "little") + good[8:],
        (size - 64).to_bytes(8, "little") + good[8:],
        good[: size + 8] + good[size + 9 :] + b"\0",
        other,
        bytes(zeroed),
        good.upper(),
    ):
        assert not campaign.reads(damaged)
    assert campaign.reads(good)


def test_a_file_under_another_name_is_not_used(opened: Opened, kind: Kind, good: bytes):
    other = opened.file(kind, b"\x0c" * 32)
    opened.file(kind, A).rename(other)
    assert opened.store.get(kind, b"\x0c" * 32) is None
    (warning,) = opened.warnings
    assert A.hex() in warning


def test_a_file_of_another_kind_is_not_used(opened: Opened, kind: Kind, good: bytes):
    other = next(each for each in Kind if each is not kind)
    opened.file(kind, A).rename(opened.file(other, A))
    assert opened.store.get(other, A) is None
    assert len(opened.warnings) == 1


def test_after_damage_it_is_written_again(opened: Opened, kind: Kind, good: bytes):
    opened.file(kind, A).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert opened.store.get(kind, A) is None
    assert not opened.store.has(kind, A)
    assert opened.put_now(kind, A, 1, parent=B if kind is Kind.CHECKPOINT else None)
    assert opened.file(kind, A).read_bytes() == good
    assert len(opened.warnings) == 1


@pytest.fixture
def cannot_remove(monkeypatch: pytest.MonkeyPatch) -> None:
    def unlink(path: str | Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "unlink", unlink)


@pytest.mark.usefixtures("cannot_remove")
def test_damage_that_cannot_be_removed_is_warned_about_once(opened: Opened, good: bytes, kind):
    opened.file(kind, A).write_bytes(good[:-1])
    for _ in range(3):
        assert opened.store.get(kind, A) is None
        assert not opened.store.has(kind, A)
        assert opened.store.meta(kind, A) is None
    assert len(opened.warnings) == 1
    # The header is good but known to be of no use: it is written again.
    opened.file(kind, A).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert opened.put_now(kind, A, 1, parent=B if kind is Kind.CHECKPOINT else None)
    entry = opened.store.get(kind, A)
    assert entry is not None
    assert same(entry.arrays, arrays_of(kind, 1))


def test_a_good_file_that_came_in_place_of_a_damaged_one_stays(
    opened: Opened, good: bytes, monkeypatch: pytest.MonkeyPatch, kind: Kind
):
    """Another process may have written it anew while this one still read the damaged bytes."""
    file = opened.file(kind, A)
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    real = os.readv

    def replaced_meanwhile(descriptor: int, buffers: list[memoryview]) -> int:
        if file.read_bytes() != good:
            fresh = file.with_suffix(".new")
            fresh.write_bytes(good)
            fresh.rename(file)
        return real(descriptor, buffers)

    monkeypatch.setattr(os, "readv", replaced_meanwhile)
    assert opened.store.get(kind, A) is None
    monkeypatch.undo()
    assert file.read_bytes() == good


def test_what_cannot_be_read_is_a_miss(open_store: Open, monkeypatch: pytest.MonkeyPatch):
    opened = open_store()
    opened.put_now(Kind.TURN, A)

    def readv(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "readv", readv)
    assert opened.store.get(Kind.TURN, A) is None
    assert opened.store.get(Kind.TURN, A) is None
    (warning,) = opened.warnings
    assert "Input/output error" in warning
    assert opened.file(Kind.TURN, A).exists()


def test_what_does_not_fit_into_memory_is_a_miss(opened: Opened, monkeypatch: pytest.MonkeyPatch):
    opened.put_now(Kind.TURN, A)

    def empty(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(np, "empty", empty)
    assert opened.store.get(Kind.TURN, A) is None
    monkeypatch.undo()
    assert opened.store.get(Kind.TURN, A) is not None
    assert len(opened.warnings) == 1


def test_other_things_in_the_folder_are_left_alone(opened: Opened):
    opened.put_now(Kind.TURN, A)
    folder = opened.store.path / "v1" / "turns"
    (folder / "README").write_text("mine")
    (folder / f"{A.hex().upper()}.safetensors").write_text("mine")
    (folder / "xyz.safetensors").write_text("mine")
    (folder / f"{B.hex()}.safetensors").mkdir()
    assert not opened.store.has(Kind.TURN, B)
    assert opened.store.get(Kind.TURN, B) is None
    assert {record.name for record in opened.store.records()} == {A}
    assert not opened.warnings
