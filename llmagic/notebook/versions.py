"""Every turn a notebook had: what a cell can be switched back to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from llmagic.notebook.entries import Entry

MOST = 64
"""Versions kept of a cell; those of cells without a name count together, times 16."""


class Versions:
    """Turns by the cell that gave them, each as it stood when it was given.

    A turn's id is its content, so running an unchanged cell again adds nothing.

    Attributes
    ----------
    asked : set of str
        Turns for which the store was asked what their cells gave before.
    """

    def __init__(self) -> None:
        self._of: dict[str | None, dict[str, Entry]] = {}
        self.asked: set[str] = set()

    def __iter__(self) -> Iterator[Entry]:
        for versions in self._of.values():
            yield from versions.values()

    def add(self, entry: Entry) -> None:
        """Keep a turn; it is the newest of its cell now."""
        cell = entry.request.cell
        versions = self._of.setdefault(cell, {})
        versions.pop(entry.turn.id, None)
        versions[entry.turn.id] = entry
        while len(versions) > (MOST if cell is not None else 16 * MOST):
            del versions[next(iter(versions))]

    def add_older(self, cell: str, entries: Iterable[Entry]) -> None:
        """Keep turns that a cell gave before all others, the newest last."""
        versions = self._of.get(cell, {})
        older = {each.turn.id: each for each in entries if each.turn.id not in versions}
        self._of[cell] = dict([*older.items(), *versions.items()][-MOST:])

    def of(self, cell: str | None) -> Mapping[str, Entry]:
        """The turns of a cell by id, the newest last."""
        return self._of.get(cell, {})

    def remove(self, entries: Iterable[Entry]) -> None:
        """Drop turns of cells; other cells keep turns of the same content."""
        for entry in entries:
            self._of.get(entry.request.cell, {}).pop(entry.turn.id, None)

    def change(self, how: Callable[[Entry], Entry]) -> None:
        """Replace every entry."""
        self._of = {
            cell: {turn: how(entry) for turn, entry in versions.items()}
            for cell, versions in self._of.items()
        }

    def clear(self) -> None:
        """Drop everything."""
        self._of.clear()
        self.asked.clear()
