"""Notebooks without a front end: nbclient, `jupyter execute`, nbval."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tests.notebook.conftest import write_picture
from tests.notebook.kernel import LIMIT, Kernel, execute
from tests.toys import Toy

QUESTIONS = [
    "%%llm --max-tokens 10 -t 0.7\n![](a.png)What is this?",
    "%%llm --max-tokens 10 -t 0.7\nAnd compared with ![](b.png)?",
    "%%llm --max-tokens 10 -t 0.7\nSo {missing}?",
]


def make_notebook(folder: Path, toy: Toy, *more: str) -> Path:
    for shade, name in enumerate("ab"):
        write_picture(folder / f"{name}.png", shade=90 * shade)
    cells = [
        "%load_ext llmagic",
        f"%llm load {toy.model} --projector {toy.projector}",
        *QUESTIONS,
        *more,
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    path = folder / "book.ipynb"
    nbformat.write(notebook, path)
    return path


def outputs(notebook: Any) -> list[list[dict[str, Any]]]:
    """Outputs without what differs between runs: times."""
    found = []
    for cell in notebook.cells:
        kept = [dict(output) for output in cell.outputs]
        for output in kept:
            for part in output.get("metadata", {}).get("llmagic", {}).values():
                if isinstance(part, dict):
                    part.pop("ms", None)
        found.append(kept)
    return found


@pytest.fixture
def executed(tmp_path: Path, qwen35: Toy) -> Any:
    path = make_notebook(tmp_path, qwen35)
    notebook = nbformat.read(path, 4)
    execute(notebook, tmp_path)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    return notebook


def test_every_cell_leaves_one_display(executed: Any) -> None:
    for index, cell in enumerate(executed.cells[2:]):
        displays = [output for output in cell.outputs if output.output_type == "display_data"]
        (display,) = displays
        usage = display.metadata["llmagic"]
        assert usage["prompt"]["images"] == min(index + 1, 2)
        assert usage["encoded"]["images"] == (1 if index < 2 else 0)
        restored, evaluated = usage["restored"]["tokens"], usage["evaluated"]["tokens"]
        assert usage["prompt"]["tokens"] == restored + evaluated
    others = [o for c in executed.cells for o in c.outputs if o.output_type != "display_data"]
    (warning,) = others
    assert warning.name == "stderr"
    assert "{missing}" in warning.text


def test_jupyter_execute_and_a_front_end_give_the_same(
    executed: Any, kernel: Kernel, qwen35: Toy, tmp_path: Path
) -> None:
    path = tmp_path / "book.ipynb"
    command = [sys.executable, "-m", "jupyter", "execute", str(path), "--output=again.ipynb"]
    command.append(f"--startup_timeout={LIMIT:.0f}")
    # Another store: the same must be computed again, not replayed.
    environment = os.environ | {"LLMAGIC_STORE": str(tmp_path / "other")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    again = nbformat.read(tmp_path / "again.ipynb", 4)
    assert outputs(again) == outputs(executed)

    kernel.load(qwen35.model, qwen35.projector)
    for index, question in enumerate(QUESTIONS):
        live = kernel.run(question, f"cell-{index}")
        (stored,) = [o for o in executed.cells[index + 2].outputs if "data" in o]
        assert live.shown == stored.data
        assert live.usage["turn"] == stored.metadata["llmagic"]["turn"]
        assert live.stderr == "".join(
            o.text for o in executed.cells[index + 2].outputs if o.output_type == "stream"
        )


def nbval(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", str(path)]
    command.append(f"--nbval-kernel-startup-timeout={LIMIT:.0f}")
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)


def test_nbval_passes_and_can_fail(executed: Any, tmp_path: Path) -> None:
    done = nbval(tmp_path / "book.ipynb")
    assert done.returncode == 0, done.stdout
    assert f"{len(executed.cells)} passed" in done.stdout

    (display,) = [o for o in executed.cells[3].outputs if "data" in o]
    display.data["text/plain"] += "!"
    nbformat.write(executed, tmp_path / "book.ipynb")
    done = nbval(tmp_path / "book.ipynb")
    assert "1 failed" in done.stdout


@pytest.mark.parametrize("cell", ["%%llm", "%%llm --bogus\nHi", "%llm stauts"])
def test_a_failing_cell_stops_the_run(tmp_path: Path, qwen35: Toy, cell: str) -> None:
    path = make_notebook(tmp_path, qwen35, cell, "print('not reached')")
    notebook = nbformat.read(path, 4)
    with pytest.raises(CellExecutionError, match="UsageError"):
        execute(notebook, tmp_path)
    assert not notebook.cells[-1].outputs
