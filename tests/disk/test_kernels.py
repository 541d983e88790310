"""Real kernels on one store: killed while they write, and several at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from llmagic.store.folder import Folder
from llmagic.store.upkeep import verify
from tests.disk.killing import CELLS, TOYS, Campaign, book_of
from tests.notebook.conftest import write_picture
from tests.notebook.kernel import Kernel
from tests.toys import Toy, write


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where kernels run, with a store and pictures in it."""
    monkeypatch.setenv("LLMAGIC_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for number in range(3):
        write_picture(tmp_path / f"p{number}.png", shade=80 * number)
    return tmp_path


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_what_a_killed_kernel_leaves_is_right_or_missing(
    kills: int, toys_folder: Path, folder: Path
) -> None:
    toys = [write(name, toys_folder) for name in TOYS]
    found = Campaign(toys, folder, seed=kills).run(kills)
    assert found.wrong == []
    # Or the kills came too early or too late to mean anything.
    assert found.counts["kernel: disk"] + found.counts["kernel: replayed"] >= kills // 4
    assert found.counts["logits compared"] >= kills // 4
    assert found.counts["unfinished files"] >= kills // 40


def test_four_kernels_at_once_with_a_budget_far_too_small(
    toy_named: Callable[[str], Toy], folder: Path
) -> None:
    """Each runs a notebook that all have, and one of its own."""
    toy, budget = toy_named("qwen35"), 400_000
    with ExitStack() as stack:
        kernels = [Kernel(folder) for _ in range(4)]
        for kernel in kernels:
            stack.callback(kernel.stop)
            kernel.run(f"%config LLMagic.store_budget = {budget}")
            kernel.load(toy.model, toy.projector)
        books = [[book_of(toy, 0), book_of(toy, 1 + number)] for number in range(4)]
        sent = [
            [
                (cell, kernel.send(cell.source, cell.id, metadata={"llmagic": book.message()}))
                for book in two
                for cell in book.cells
            ]
            for kernel, two in zip(kernels, books, strict=True)
        ]
        for kernel, cells in zip(kernels, sent, strict=True):
            for cell, identity in cells:
                outcome = kernel.outcome(identity)
                assert outcome.error is None
                assert outcome.stderr == ""
                assert outcome.usage["exact"] is True
                cell.turn = outcome.usage["turn"]
            kernel.stop(gently=True)
    assert len({tuple(cell.turn for cell in two[0].cells) for two in books}) == 1
    report = verify(Folder(folder / "store"))
    assert report.is_well, report
    assert report.temporaries == 0
    assert 0 < report.n_bytes <= budget * 1.5
    kernel = Kernel(folder)
    try:
        kernel.load(toy.model, toy.projector)
        for book in (books[0][0], *(two[1] for two in books)):
            before = book.cells[0].turn
            again = book.run(kernel, CELLS[0])
            assert again.usage["turn"] == before
            assert again.stderr == ""
    finally:
        kernel.stop()
