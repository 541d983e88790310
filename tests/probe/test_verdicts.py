"""What a probe found is remembered; what ended a process is not tried again."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmagic.checkpoint import verdicts
from llmagic.checkpoint.payload import Layout, Payloads
from llmagic.checkpoint.probe import ONLY_WHOLE, Verdict, candidates
from llmagic.checkpoint.trial import Trial
from llmagic.checkpoint.verdicts import ENDED, Record
from llmagic.events import Event, Notice
from llmagic.model.context import NoRoomError
from llmagic.model.loading import Memory
from tests.probe.conftest import Check, Opens
from tests.toys import Toy

VERDICT = Verdict(Layout.SPLIT, 12.5, 345, 0.25, (("delta", "why"),))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Layout]:
    """The layouts that are tried, in order."""
    found: list[Layout] = []
    differs = Trial.differs

    def noting(self: Trial, *arguments: Any) -> str | None:
        found.append(self._payloads.layout)
        return differs(self, *arguments)

    monkeypatch.setattr(Trial, "differs", noting)
    return found


def only_file(store: Path) -> Path:
    (path,) = (store / "probes").iterdir()
    return path


def test_the_next_load_does_not_probe(toy: Toy, open_session: Opens, tried: list[Layout]) -> None:
    first = open_session(toy).engine.verdict
    assert len(tried) == 1
    second = open_session(toy).engine.verdict
    assert len(tried) == 1
    assert second == first
    assert open_session(toy, n_ctx=1024, n_sequences=2).engine.verdict == first
    assert len(tried) == 1


def test_what_changes_the_state_is_probed_anew(
    toy_named, open_session: Opens, tried: list[Layout]
) -> None:
    toy = toy_named("qwen35")
    open_session(toy)
    open_session(toy, kv_type="q8_0")
    open_session(toy, image_tokens=16)
    open_session(Toy(toy.name, toy.model, None, toy.memory))
    assert len(tried) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b"{}",
        b"null",
        b'{"format": 2, "layout": "split"}',
        b'{"format": 1, "layout": "split"}',
        b'{"format": 1, "fatal": {}, "layout": "sideways", "bytes_per_token": 1, '
        b'"state_bytes": 1, "seconds": 1, "refused": []}',
        b'{"format": 1, "fatal": [], "trying": 7}',
        b'{"format": 1, "fatal": {"sideways": "x"}, "trying": {"layout": "split"}}',
        b'{"format": 1, "fatal": {}, "layout": "split", "bytes_per_token": "many", '
        b'"state_bytes": 1, "seconds": 1, "refused": [1]}',
    ],
)
def test_a_damaged_file_is_not_believed(
    toy_named, open_session: Opens, store: Path, tried: list[Layout], content: bytes
) -> None:
    toy = toy_named("llama")
    open_session(toy)
    path = only_file(store)
    path.write_bytes(content)
    session = open_session(toy)
    assert session.status()["layout"] == "delta"
    assert tried == [Layout.DELTA] * 2
    assert json.loads(path.read_text())["layout"] == "delta"


def test_a_folder_that_cannot_be_written_is_no_error(
    toy_named, open_session: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    monkeypatch.setenv("LLMAGIC_STORE", str(blocker))
    for _ in range(2):
        assert open_session(toy_named("llama")).status()["layout"] == "delta"
    assert blocker.read_text() == "in the way"


def test_the_folder_is_for_its_user_alone(toy_named, open_session: Opens, store: Path) -> None:
    open_session(toy_named("llama"))
    # Whoever comes first makes the folder of the store.
    for folder in (store, store / "probes"):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.suffix for path in (store / "probes").iterdir()] == [".json"]


def test_a_record_is_what_was_kept(tmp_path: Path) -> None:
    record = Record(b"\x01" * 16, tmp_path)
    assert record.verdict() is None
    record.keep(VERDICT)
    assert record.verdict() == VERDICT
    assert Record(b"\x02" * 16, tmp_path).verdict() is None


# A layout that ends the process -----------------------------------------------------------------

DIES = """
import os, sys
from llmagic.checkpoint.payload import Layout
from llmagic.checkpoint.trial import Trial
from llmagic.session import Session

differs = Trial.differs

def deadly(self, *arguments):
    if self._payloads.layout is Layout.SPLIT:
        os.abort()
    return differs(self, *arguments)

Trial.differs = deadly
Session(sys.argv[1])
"""


def test_what_ends_processes_is_not_tried_again(
    toy_named, open_session: Opens, check: Check, tried: list[Layout]
) -> None:
    toy = toy_named("mamba2")
    command = [sys.executable, "-c", DIES, str(toy.model)]
    for _ in range(verdicts.ATTEMPTS):
        died = subprocess.run(command, check=False, capture_output=True, timeout=300)
        assert died.returncode == -signal.SIGABRT
    session = open_session(toy)
    assert tried == [Layout.DELTA]
    assert session.engine.verdict.refused == (("split", ENDED),)
    assert session.status()["layout"] == "delta"
    assert session.ask("hello", max_tokens=2, temperature=0).usage["exact"]
    # Remembered like any other verdict; but someone may have killed those processes.
    open_session(toy)
    assert tried == [Layout.DELTA]
    status, report = check(toy, "--rounds", "1")
    assert (status, report["layout"], report["refused"]) == (0, "split", [])
    assert open_session(toy).status()["layout"] == "split"


def test_one_death_may_have_been_a_kill(
    toy_named, open_session: Opens, tried: list[Layout]
) -> None:
    toy = toy_named("mamba2")
    command = [sys.executable, "-c", DIES, str(toy.model)]
    subprocess.run(command, check=False, capture_output=True, timeout=300)
    assert open_session(toy).status()["layout"] == "split"
    assert tried == [Layout.SPLIT]


def test_two_layouts_that_end_processes_leave_the_third(tmp_path: Path) -> None:
    record = Record(b"\x01" * 16, tmp_path)
    for layout, known in ((Layout.SPLIT, []), (Layout.DELTA, [Layout.SPLIT])):
        for _ in range(verdicts.ATTEMPTS):
            assert list(record.fatal()) == known
            record.trying(layout)
            _end_process(record.path)
    assert list(record.fatal()) == [Layout.SPLIT, Layout.DELTA]
    assert record.verdict() is None
    record.keep(VERDICT)
    assert record.fatal() == {}


def test_a_process_that_is_still_trying_is_not_dead(tmp_path: Path) -> None:
    record = Record(b"\x01" * 16, tmp_path)
    for _ in range(verdicts.ATTEMPTS):
        record.trying(Layout.SPLIT)
        assert record.fatal() == {}


def test_nobody_can_tell_of_another_machine(tmp_path: Path) -> None:
    record = Record(b"\x01" * 16, tmp_path)
    for _ in range(verdicts.ATTEMPTS):
        record.trying(Layout.SPLIT)
        _end_process(record.path, host=platform.node() + "-not")
        assert record.fatal() == {}


@pytest.mark.parametrize("error", [KeyboardInterrupt, NoRoomError])
def test_a_probe_that_did_not_come_to_its_end_is_no_verdict(
    toy_named,
    open_session: Opens,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Trial, "differs", stopped)
        with pytest.raises(error):
            open_session(toy_named("qwen35"))
    assert list((store / "probes").iterdir()) == []
    assert open_session(toy_named("qwen35")).status()["layout"] == "split"


def test_a_probe_that_ran_out_of_memory_is_no_verdict(
    toy_named, open_session: Opens, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_of_memory(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Payloads, "take", short_of_memory)
        session = open_session(toy_named("qwen35"))
        refused = session.engine.verdict.refused
        assert [reason for _, reason in refused] == ["memory ran out"] * 3
        # It answers all the same, and knows what it does not know.
        told: list[Event] = []
        turn = session.ask("hello", max_tokens=2, temperature=0, on_event=told.append)
        assert not turn.usage["restored"]["tokens"]
        assert any(isinstance(each, Notice) and "memory ran out" in each.text for each in told)
    assert list((store / "probes").iterdir()) == []
    assert open_session(toy_named("qwen35")).status()["layout"] == "split"


def _end_process(path: Path, **changes: Any) -> None:
    """Let a record say that a process tried which is gone."""
    facts = json.loads(path.read_text())
    facts["trying"] |= {"process": _free_pid(), **changes}
    path.write_text(json.dumps(facts))


def _free_pid() -> int:
    return next(pid for pid in range(4_000_000, 0, -1) if not psutil.pid_exists(pid))


# Architectures that abort -----------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ONLY_WHOLE)
def test_architectures_that_abort_are_not_asked(architecture: str) -> None:
    for memory in Memory:
        assert candidates(architecture, memory, 0) == [Layout.WHOLE]


def test_the_smallest_layout_is_tried_first() -> None:
    assert candidates("llama", Memory.ATTENTION, 0) == [Layout.DELTA, Layout.WHOLE]
    assert candidates("gemma3", Memory.SWA, 128) == [Layout.SPLIT, Layout.WHOLE]
    everything = [Layout.SPLIT, Layout.DELTA, Layout.WHOLE]
    assert candidates("qwen35", Memory.HYBRID, 0) == everything


def test_a_store_named_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMAGIC_STORE", str(tmp_path))
    assert verdicts.store_folder() == tmp_path
    monkeypatch.delenv("LLMAGIC_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if sys.platform == "linux":
        assert verdicts.store_folder() == tmp_path / "cache" / "llmagic"
