"""The notebooks run as they are found: with what comes with them, and nothing else told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import pytest

from tests.notebook.kernel import execute
from tests.toys import parrot

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = PROJECT / "notebooks"


def a_newcomers(folder: Path) -> dict[str, str]:
    """An environment without any setting of llmagic's, and with caches of its own."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("LLMAGIC_")
    }
    return {**environment, "XDG_CACHE_HOME": str(folder), "HF_HOME": str(folder / "hub")}


@pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
def test_notebook_runs_in_a_copy_of_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    notebook = nbformat.read(folder / name, 4)
    execute(notebook, folder, a_newcomers(tmp_path / "cache"))  # raises what a cell raises


def test_the_parrot_of_the_tools_is_the_one_that_is_written(tmp_path: Path) -> None:
    written = parrot.for_notebook(tmp_path)
    assert (NOTEBOOKS / "parrot.gguf").read_bytes() == written.read_bytes()
