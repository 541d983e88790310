"""Sessions and bare contexts on toys, and a store of their own for each test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from llmagic import cli
from llmagic.session import Session
from llmagic.settings import Loading
from tests.toys import Toy

Check = Callable[..., tuple[int, dict[str, Any]]]


class Opens(Protocol):
    """Opens a session on a toy; keyword arguments are fields of `Loading`."""

    def __call__(self, toy: Toy, **loading: Any) -> Session: ...


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what is remembered; empty at first."""
    monkeypatch.setenv("LLMAGIC_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def open_session() -> Iterator[Opens]:
    with ExitStack() as stack:

        def opened(toy: Toy, **loading: Any) -> Session:
            settings = Loading(**{"n_threads": 1, **loading})
            return stack.enter_context(
                Session(toy.model, projector=toy.projector or False, loading=settings)
            )

        yield opened


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs `llmagic check` in this process: exit status and report."""

    def run(toy: Toy, *arguments: str) -> tuple[int, dict[str, Any]]:
        command = ["check", str(toy.model), "--threads", "1", *arguments]
        if toy.projector is not None:
            command += ["--projector", str(toy.projector)]
        else:
            command.append("--no-projector")
        status = cli.main(command)
        return status, json.loads(capsys.readouterr().out)

    return run
