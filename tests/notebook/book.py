"""A notebook as a front end has it: cells in order, what they show, and what is sent with each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.notebook.kernel import Kernel, Outcome


@dataclass
class Cell:
    """A cell: its name, its source, and the id of the turn its output shows."""

    id: str
    source: str
    turn: str | None = None


class Book:
    """A notebook; its cells can be edited, moved, deleted and run in any kernel.

    Parameters
    ----------
    cells
        Sources by cell id, in document order.
    path
        What the front end calls the notebook.
    """

    def __init__(self, cells: dict[str, str], path: str = "folder/book.ipynb") -> None:
        self.path = path
        self.cells = [Cell(name, source) for name, source in cells.items()]

    def __getitem__(self, name: str) -> Cell:
        return next(cell for cell in self.cells if cell.id == name)

    def message(self) -> dict[str, Any]:
        """What a front end sends about the notebook (DESIGN C3)."""
        listed = [{"id": c.id, "source": c.source, "turn": c.turn} for c in self.cells]
        return {"version": 1, "notebook": self.path, "cells": listed}

    def run(self, kernel: Kernel, name: str) -> Outcome:
        """Run one cell; a turn that ends becomes what the cell shows."""
        cell = self[name]
        outcome = kernel.run(cell.source, name, metadata={"llmagic": self.message()})
        if outcome.error is None:
            cell.turn = outcome.usage["turn"]
        return outcome

    def run_all(self, kernel: Kernel) -> list[Outcome]:
        return [self.run(kernel, cell.id) for cell in list(self.cells)]

    def insert(self, index: int, name: str, source: str) -> None:
        self.cells.insert(index, Cell(name, source))

    def delete(self, name: str) -> Cell:
        cell = self[name]
        self.cells.remove(cell)
        return cell

    def move(self, name: str, index: int) -> None:
        self.cells.insert(index, self.delete(name))
