"""The notebooks' answers do not hang on a last bit: no machine draws another token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from llmagic.model.context import Context
from llmagic.model.sampling import Sampler

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

MARGIN = 2.0
"""Logits between the first and the second token; other instructions move them by some 0.01."""


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.chdir(NOTEBOOKS)
    config = Config()
    config.HistoryManager.enabled = False
    config.LLMagic.n_threads = 1
    InteractiveShell.clear_instance()
    yield InteractiveShell.instance(config=config)
    InteractiveShell.clear_instance()


@pytest.mark.parametrize("name", ["01_quickstart", "03_pictures"])
def test_answers_are_clear(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    margins: list[float] = []
    sample: Callable[..., int] = Sampler.sample

    def measured(sampler: Sampler, context: Context, **more: Any) -> int:
        second, first = np.partition(context.logits(), -2)[-2:]
        margins.append(float(first - second))
        return sample(sampler, context, **more)

    monkeypatch.setattr(Sampler, "sample", measured)
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source, store_history=True).raise_error()
    shell.run_line_magic("unload_ext", "llmagic")
    assert len(margins) > 30
    assert min(margins) > MARGIN
