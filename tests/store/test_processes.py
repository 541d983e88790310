"""Real processes: killed while they write, and several at once in one small store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmagic.store import Kind
from tests.store.conftest import Open
from tests.store.writing import BUDGET


def run(*arguments: object) -> dict[str, Any]:
    """What `tests.store.writing` found."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.store.writing", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("kills", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_while_writing(tmp_path: Path, kills: int):
    found = run("kill", tmp_path / "store", kills, kills)
    assert found["wrong"] == []
    # Or the kills came too early or too late to mean anything.
    assert found["unfinished"] >= kills // 10
    assert found["written"] > 0


@pytest.mark.parametrize("entries", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_four_processes_with_a_budget_far_too_small(tmp_path: Path, open_store: Open, entries: int):
    found = run("crowd", tmp_path / "store", 4, entries)
    assert found["wrong"] == []
    assert found["written"] == [entries] * 4
    # Each may go over by what it wrote since it last looked at what the others did.
    assert found["total"] <= BUDGET * 1.25
    opened = open_store(budget=BUDGET)
    assert opened.put_now(Kind.TURN, b"last")
    assert sum(record.n_bytes for record in opened.store.records()) <= BUDGET
