"""The turns of a notebook in their order, and what is known of them.

A notebook may have a thousand turns, and each that is looked at costs a third of a microsecond,
since it left the processor's caches while the model was at work. So nothing here looks at all of
them but where something moved: what follows from a turn is noted when it is added, and of a
notebook that was sent again only the cells that changed are compared.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from llmagic.notebook.entries import Entry
from llmagic.notebook.request import Cell, Document
from llmagic.recent import shared


class Order:
    """A list of turns that is changed at its end alone: by `cut` and `add`.

    Attributes
    ----------
    entries : list of Entry
        Turns of one cell stand together.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._of: dict[str, list[Entry]] = {}
        self._unmoved = 0
        # The notebook whose order they have, as long as `_kept`.
        self._kept = True
        self._cells: Sequence[Cell] = ()
        self._index: Mapping[str | None, int] = {}
        # Cells that may read otherwise than when they ran, and that may have no turn; or more.
        self._edited: set[str] = set()
        self._lacking: set[str] = set()

    def __contains__(self, cell: str) -> bool:
        return cell in self._of

    # --- changing it ---------------------------------------------------------------------------

    def cut(self, start: int) -> list[Entry]:
        """Take away the entries from `start` on, and return them."""
        removed = self.entries[start:]
        del self.entries[start:]
        for entry in reversed(removed):
            cell = entry.request.cell
            if cell is not None:
                self._of[cell].pop()
                if not self._of[cell]:
                    del self._of[cell]
                    self._lacking.add(cell)
        self._unmoved = min(self._unmoved, start)
        return removed

    def add(self, entry: Entry) -> None:
        """Put an entry at the end."""
        cell = entry.request.cell
        at = self._index.get(cell, -1)
        before = self._index.get(self.entries[-1].request.cell, -1) if self.entries else 0
        self._kept = self._kept and 0 <= before <= at
        if self._unmoved == len(self.entries) and not entry.moved:
            self._unmoved += 1
        self.entries.append(entry)
        if cell is not None:
            self._of.setdefault(cell, []).append(entry)
            if at >= 0 and self._cells[at].source != entry.request.source:
                self._edited.add(cell)

    def take(self, document: Document, ordered: Sequence[Entry], kept: int) -> list[Entry]:
        """Take the order of a notebook, in which `ordered` are; returns all but the first `kept`.

        They are to be added again.
        """
        self.cut(kept)
        self._kept, self._cells, self._index = True, document.cells, document.index
        ids = {cell.id for cell in document.cells}
        self._edited, self._lacking = ids, set(ids)
        return list(ordered[kept:])

    # --- beside a notebook ---------------------------------------------------------------------

    def follows(self, document: Document) -> bool:
        """Whether the entries are in the order of this notebook, all of them."""
        old, new = self._cells, document.cells
        if not self._kept or old is new:
            return self._kept
        first = shared(old, new)
        last = shared(old[first:][::-1], new[first:][::-1])
        gone, come = old[first : len(old) - last], new[first : len(new) - last]
        ids, others = [cell.id for cell in come], [cell.id for cell in gone]
        if [each for each in ids if each in self._of] != [o for o in others if o in self._of]:
            return False
        self._cells, self._index = new, document.index
        self._edited.update(ids)
        self._lacking.update(ids)
        return True

    def lacking(self, document: Document) -> list[Cell]:
        """The cells of a notebook that have no entry, in its order."""
        if not self.follows(document):
            return [cell for cell in document.cells if cell.id not in self._of]
        self._lacking = {each for each in self._lacking if each not in self._of}
        places = sorted(self._index[each] for each in self._lacking if each in self._index)
        return [self._cells[at] for at in places]

    def above(self, document: Document, cell: str | None) -> int:
        """Number of entries that stand above a cell of the notebook."""
        at = document.index[cell]
        if self.follows(document):
            return self._before(at)
        index = document.index
        return sum(index.get(entry.request.cell, at) < at for entry in self.entries)

    def span(self, cell: str | None) -> tuple[int, int] | None:
        """Where the entries of a cell begin and end; None without any."""
        mine = self._of.get(cell) if cell is not None else None
        if mine is None:
            return None
        if self._kept:
            start = self._before(self._index[cell])
        else:
            start = next(index for index, each in enumerate(self.entries) if each is mine[0])
        return start, start + len(mine)

    def fresh(self, document: Document | None, start: int, stop: int) -> bool:
        """Whether it is known that no entry before `start` is stale.

        Those up to `stop` are about to be replaced, so that they do not count.
        """
        if self._unmoved < start:
            return False
        if document is None or document.is_saved:
            return True
        if not self.follows(document):
            return False
        self._edited = {each for each in self._edited if self._is_edited(each)}
        replaced = {entry.request.cell for entry in self.entries[start:stop]}
        return self._edited <= replaced

    def _is_edited(self, cell: str) -> bool:
        at = self._index.get(cell)
        source = None if at is None else self._cells[at].source
        mine = self._of.get(cell, ())
        return source is not None and any(e.request.source not in (None, source) for e in mine)

    def _before(self, at: int) -> int:
        """Number of entries whose cells stand before the `at`-th."""
        index = self._index
        return bisect_left(self.entries, at, key=lambda entry: index[entry.request.cell])
