"""The demo model, loaded once for tests that leave its conversations alone; plain questions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmagic.session import Session
from llmagic.settings import Loading


@pytest.fixture(scope="session")
def demo() -> Iterator[Session]:
    """A session on the demo model; each test begins conversations of its own."""
    # With more threads than free cores, ggml's barriers spin: a hundred times slower.
    with Session("demo", loading=Loading(n_threads=1)) as session:
        yield session


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions of dialogues without the letters that people mistype, so that tests read them."""
    monkeypatch.setattr("training.dialogues.talk.typed", lambda _, text, **v: text.format(**v))
    monkeypatch.setattr("training.dialogues.several.typed", lambda _, text, **v: text.format(**v))
