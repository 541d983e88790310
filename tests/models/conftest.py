from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.hub import LocalHub, running
from tests.store.mounting import mount

__all__ = ["mount"]


@pytest.fixture
def local_hub() -> Iterator[LocalHub]:
    with running() as hub:
        yield hub


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the user's models, aliases and hub."""
    monkeypatch.setenv("LLMAGIC_MODELS", str(tmp_path / "own models"))
    monkeypatch.setenv("LLMAGIC_ALIASES", str(tmp_path / "settings" / "aliases.json"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
