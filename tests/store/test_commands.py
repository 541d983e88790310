"""`llmagic cache`, as a user runs it; the exit status is 0 only when all is well."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmagic import cli
from llmagic.store import Kind
from tests.store.conftest import Open, Opened

DAY = 86_400


def old(opened: Opened, kind: Kind, name: bytes, days: float) -> None:
    file = opened.file(kind, name)
    then = file.stat().st_mtime - days * DAY
    os.utime(file, (then, then))


def damage(opened: Opened, kind: Kind, name: bytes) -> None:
    file = opened.file(kind, name)
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.fixture
def full(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Two models' chains, an old image, a large embedding, a turn."""
    opened = open_store()
    monkeypatch.setenv("LLMAGIC_STORE", str(opened.store.path))
    for model, start in (("Qwen-A", 0), ("Qwen-B", 10)):
        parent = None
        for number in range(start, start + 3):
            opened.put_now(
                Kind.CHECKPOINT,
                bytes([number]),
                number,
                parent=parent,
                meta={"model": model, "notebook": f"dir/{model}.ipynb"},
            )
            parent = bytes([number])
    opened.put_now(Kind.IMAGE, b"\x20")
    old(opened, Kind.IMAGE, b"\x20", 10)
    opened.put_now(Kind.EMBEDDING, b"\x21", scale=300)
    opened.put_now(Kind.TURN, b"\x22", meta={"model": "Qwen-A"})
    return opened


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def run_(*arguments: str) -> tuple[int, str]:
        status = cli.main(["cache", *arguments])
        captured = capsys.readouterr()
        assert captured.err == ""
        return status, captured.out

    return run_


def names(opened: Opened) -> set[int]:
    return {record.name[0] for record in opened.store.records()}


ALL = {0, 1, 2, 10, 11, 12, 0x20, 0x21, 0x22}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ALL),
        (["--kind", "images"], {0x20}),
        (["--kind", "images", "--kind", "turns"], {0x20, 0x22}),
        (["--model", "qwen-a"], {0, 1, 2, 0x22}),
        (["--notebook", "Qwen-B.ipynb"], {10, 11, 12}),
        (["--older-than", "7d"], {0x20}),
        (["--older-than", "11d"], set()),
        (["--older-than", "1.5w"], set()),
        (["--larger-than", "100K"], {0x21}),
        (["--larger-than", "1GiB"], set()),
        (["--model", "A", "--kind", "checkpoints", "--older-than", "0s"], {0, 1, 2}),
    ],
)
def test_ls_selects(full: Opened, run, options: list[str], expected: set[int]):
    status, out = run("ls", "--json", *options)
    assert status == 0
    listed = json.loads(out)
    assert {bytes.fromhex(each["name"])[0] for each in listed["entries"]} == expected
    assert listed["files"] == len(expected)
    assert listed["bytes"] == sum(each["bytes"] for each in listed["entries"])
    assert names(full) == ALL


def test_ls_for_people(full: Opened, run):
    status, out = run("ls")
    assert status == 0
    lines = out.splitlines()
    assert len(lines) == 9 + 4 + 1
    # The most recently used first, the old image last.
    assert [line.split()[0] for line in lines[:9]][-1] == "images"
    assert "dir/Qwen-A.ipynb" in out
    assert "10d" in lines[8]
    assert lines[-1].startswith("9 entries, ")
    assert str(full.store.path) in lines[-1]


def test_verify_finds_nothing(full: Opened, run):
    assert run("verify")[0] == 0
    status, out = run("verify", "--json")
    found = json.loads(out)
    assert (status, found["ok"], found["files"]) == (0, True, 9)
    assert found["bytes"] == sum(record.n_bytes for record in full.store.records())


def test_verify_removes_damage_and_orphans_and_says_so(full: Opened, run):
    damage(full, Kind.CHECKPOINT, b"\x0b")
    damage(full, Kind.IMAGE, b"\x20")
    (full.store.path / "v1" / "turns" / ".writing-1").write_bytes(b"half")
    status, out = run("verify")
    assert status == 1
    assert out.count("damaged, removed") == 2
    assert out.count("orphan, removed") == 1
    assert "1 unfinished file removed" in out
    assert "6 good entries" in out
    assert names(full) == ALL - {11, 12, 0x20}
    assert run("verify")[0] == 0


def test_verify_removes_orphans_with_all_that_stands_on_them(full: Opened, run):
    full.store.remove(Kind.CHECKPOINT, b"\0")
    status, out = run("verify", "--json")
    assert status == 1
    assert {each["name"] for each in json.loads(out)["orphans"]} == {"01", "02"}
    assert names(full) == ALL - {0, 1, 2}


def test_verify_says_what_it_could_not_remove(full: Opened, run, monkeypatch):
    damage(full, Kind.IMAGE, b"\x20")
    full.store.remove(Kind.CHECKPOINT, b"\0")

    def unlink(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "unlink", unlink)
    for _ in range(2):
        status, out = run("verify")
        assert status == 1
        assert out.count("damaged, still there") == 1
        assert out.count("orphan, still there") == 2
    status, out = run("prune", "--budget", "1K")
    assert status == 1
    assert "over the budget" in out


def test_verify_says_what_it_could_not_read(full: Opened, run, monkeypatch):
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        if size > 100_000:
            raise OSError(5, "Input/output error")
        return real(descriptor, size)

    monkeypatch.setattr(os, "read", read)
    status, out = run("verify", "--json")
    assert status == 1
    (unreadable,) = json.loads(out)["unreadable"]
    assert (unreadable["name"], unreadable["reason"]) == ("21", "Input/output error")
    assert names(full) == ALL


def test_prune_alone_removes_only_what_nobody_needs(full: Opened, run):
    (full.store.path / "v1" / "turns" / ".writing-1").write_bytes(b"half")
    full.store.remove(Kind.CHECKPOINT, b"\x0a")
    status, out = run("prune", "--json")
    removed = json.loads(out)
    assert (status, removed["files"], removed["temporaries"]) == (0, 2, 1)
    assert names(full) == ALL - {10, 11, 12}


def test_prune_to_a_budget(full: Opened, run):
    status, out = run("prune", "--budget", "10K")
    assert status == 0
    assert "entries removed" in out
    assert 0 < sum(record.n_bytes for record in full.store.records()) <= 10 << 10


def test_prune_keeps_what_others_stand_on(full: Opened, run):
    old(full, Kind.CHECKPOINT, b"\0", 10)
    old(full, Kind.CHECKPOINT, b"\x0c", 10)
    status, out = run("prune", "--older-than", "7d")
    assert status == 0
    assert "stand on them: 1 checkpoint\n" in out
    assert names(full) == ALL - {0x20, 12}


def test_clear_removes_what_stands_on_it_too(full: Opened, run):
    old(full, Kind.CHECKPOINT, b"\0", 10)
    old(full, Kind.CHECKPOINT, b"\x0b", 10)
    status, _ = run("clear", "--older-than", "7d")
    assert status == 0
    assert names(full) == ALL - {0, 1, 2, 11, 12, 0x20}
    assert run("verify")[0] == 0


def test_clear_a_model(full: Opened, run):
    status, out = run("clear", "--model", "Qwen-B", "--json")
    assert (status, json.loads(out)["files"]) == (0, 3)
    assert names(full) == ALL - {10, 11, 12}


def test_clear_everything(full: Opened, run):
    (full.store.path / "v1" / "turns" / ".writing-1").write_bytes(b"half")
    damage(full, Kind.TURN, b"\x22")
    status, _ = run("clear")
    assert status == 0
    assert names(full) == set()
    assert not [*full.store.path.rglob(".writing-*")]


def test_clear_says_what_is_still_there(full: Opened, run, monkeypatch):
    def unlink(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "unlink", unlink)
    status, out = run("clear", "--kind", "images")
    assert status == 1
    assert ": 1 entry\n" in out


@pytest.mark.parametrize("action", ["ls", "verify", "prune", "clear"])
def test_before_there_is_a_store(run, tmp_path: Path, action: str, monkeypatch: pytest.MonkeyPatch):
    missing = tmp_path / "missing"
    monkeypatch.setenv("LLMAGIC_STORE", str(missing))
    status, out = run(action)
    assert status == 0
    assert out.strip()
    assert not missing.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "--older-than", "soon"],
        ["ls", "--larger-than", "10 parsecs"],
        ["ls", "--kind", "cats"],
        ["prune", "--budget", "-1"],
        ["verify", "--model", "A"],
        [],
    ],
)
def test_what_cannot_be_meant(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["cache", *arguments])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert re.search("expected|required|unrecognized", error)


@pytest.mark.parametrize(
    "action", [["verify"], ["prune", "--budget", "0"], ["prune", "--model", "Qwen"], ["clear"]]
)
def test_the_bar_is_for_terminals_only(full: Opened, action: list[str]):
    command = [sys.executable, "-m", "llmagic.cli", "cache", *action]
    ours, theirs = pty.openpty()
    shown = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=300)
    os.close(theirs)
    bar = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "[####" in bar
    assert "#" not in shown.stdout.decode()
    # The line is wiped at the end.
    assert bar.endswith("\r")
    assert not bar.split("\r")[-2].strip()
    full.put_now(Kind.CHECKPOINT, b"\x30", meta={"model": "Qwen-A"})
    plain = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert plain.stderr == ""


@pytest.mark.parametrize("action", ["ls", "verify", "prune", "clear"])
def test_a_store_that_is_not_there_is_no_empty_one(
    action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("typo", "file"):
        assert cli.main(["cache", action, "--store", str(tmp_path / folder)]) == 2
        assert "expected the store's folder" in capsys.readouterr().err
    assert cli.main(["cache", action, "--store", ""]) == 2  # not the working directory
    assert "got nothing" in capsys.readouterr().err


def test_an_unfinished_file_from_the_future_is_removed(full: Opened) -> None:
    unfinished = full.file(Kind.TURN, b"").parent / ".writing-0123456789abcdef"
    unfinished.write_text("")
    os.utime(unfinished, (4e9, 4e9))
    assert cli.main(["cache", "verify"]) == 0
    assert not unfinished.exists()


def test_zero_selects_all(full: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", "prune", "--older-than", "0d"]) == 0
    assert cli.main(["cache", "ls"]) == 0
    assert "0 entries" in capsys.readouterr().out


def test_a_reader_that_has_enough(full: Opened) -> None:
    command = f"{sys.executable} -m llmagic.cli cache ls --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert not done.stderr


def test_ls_only_looks(full: Opened, run):
    file = full.file(Kind.TURN, b"\x22")
    file.write_bytes(b"\xff" * file.stat().st_size)
    status, out = run("ls")
    assert status == 0
    assert "damaged: `llmagic cache verify` removes it" in out
    listed = json.loads(run("ls", "--json")[1])["entries"]
    damaged = [bytes.fromhex(each["name"])[0] for each in listed if each["damaged"]]
    assert damaged == [0x22]
    assert names(full) == ALL


def test_a_state_goes_with_its_checkpoint(full: Opened, run):
    for number in (1, 2, 12):
        assert full.put_now(Kind.STATE, bytes([number]), number)
    before = {record.name for record in full.store.records(Kind.STATE)}
    assert before == {b"\1", b"\2", b"\x0c"}
    old(full, Kind.CHECKPOINT, b"\2", 10)
    status, out = run("prune", "--kind", "checkpoints", "--older-than", "7d")
    assert status == 0
    assert "2 entries removed" in out
    assert {record.name for record in full.store.records(Kind.STATE)} == {b"\1", b"\x0c"}
    # What other processes left: no damage, but of no use.
    full.store.remove(Kind.CHECKPOINT, b"\x0c")
    status, out = run("verify")
    assert status == 0
    assert "1 state without a checkpoint removed" in out
    assert {record.name for record in full.store.records(Kind.STATE)} == {b"\1"}
