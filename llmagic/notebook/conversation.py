"""Cells become turns: which turn a cell replaces, and which turns stand above it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmagic.notebook.request import Cell, Request

if TYPE_CHECKING:
    from llmagic.prompt.parts import ReplyPart
    from llmagic.session import Turn


@dataclass(frozen=True)
class Entry:
    """One turn at its place in the notebook.

    `system` is the system prompt given with this very cell ("" takes it away), None if the one
    above goes on. Every entry's `turn.parent` is the turn of the entry above it.
    """

    turn: Turn
    request: Request
    system: str | None


@dataclass(frozen=True)
class Place:
    """Where a running cell stands: it will replace `entries[start:stop]`."""

    start: int
    stop: int
    after: Turn | None
    system: str | None


class Conversation:
    """The turns of one notebook, in the order of its cells.

    Where the front end sends the notebook, `follow` brings the turns into its order. Otherwise the
    same cell again replaces its turn and sees what stood before it; a new cell is appended, and so
    is every execution of a cell without a name. One execution that asks more than once gives that
    many turns, one after the other.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        # Turns of cells that are no longer in the notebook; undoing that brings them back.
        self._gone: list[Entry] = []
        self.takes_over = True
        self._draws: Counter[str | None] = Counter()
        self._model: Hashable = None
        self._replies: dict[tuple[str, Hashable], ReplyPart] = {}

    @property
    def last(self) -> Turn | None:
        """The last turn of the notebook, None if there is none yet."""
        return self.entries[-1].turn if self.entries else None

    def __contains__(self, cell: str) -> bool:
        """Whether a cell has turns here."""
        return any(entry.request.cell == cell for entry in self.entries)

    def known(self) -> Iterator[Entry]:
        """Every turn, also those of cells that are gone."""
        yield from self._gone
        yield from self.entries

    def follow(self, cells: Iterable[Cell], taken_over: Mapping[str, Entry]) -> None:
        """Bring the turns into the order of the notebook; those of cells it lacks are put aside.

        Parameters
        ----------
        cells : iterable of Cell
            All of the notebook, in document order.
        taken_over : dict of str to Entry
            A turn from elsewhere for each cell that has none here and gets one.
        """
        groups: dict[str | None, list[Entry]] = {}
        for entry in self.known():
            groups.setdefault(entry.request.cell, []).append(entry)
        groups |= {cell: [entry] for cell, entry in taken_over.items() if cell not in groups}
        ordered = [entry for cell in cells for entry in groups.pop(cell.id, ())]
        # A turn without a cell is nowhere in a notebook.
        self._gone = [entry for group in groups.values() for entry in group if entry.request.cell]
        self.entries.clear()
        self._append(ordered, None)

    def count(self, cells: Iterable[Cell]) -> int:
        """Turns that these cells have here."""
        ids = {cell.id for cell in cells}
        return sum(entry.request.cell in ids for entry in self.entries)

    def stale(self, cells: Iterable[Cell]) -> list[str]:
        """The ids of the cells that were edited since they gave the turns they have here."""
        ran = {entry.request.cell: entry.request.source for entry in self.entries}
        return [cell.id for cell in cells if ran.get(cell.id) not in (None, cell.source)]

    def place(
        self, request: Request, *, system: str | None = None, above: int | None = None
    ) -> Place:
        """Where the running cell stands.

        Parameters
        ----------
        request : Request
            The running cell.
        system : str, optional
            The system prompt from this cell on; None keeps the one above.
        above : int, optional
            Turns above a cell that has none yet; by default it comes last.
        """
        start, stop = self._span(request, above)
        if system is None:
            given = (entry.system for entry in reversed(self.entries[:start]))
            system = next((text for text in given if text is not None), None)
        return Place(start, stop, self.entries[start - 1].turn if start else None, system)

    def put(self, place: Place, turn: Turn, request: Request, *, system: str | None = None) -> None:
        """Store `turn` at its place; the turns below it now follow it."""
        below = self.entries[place.stop :]
        self.entries[place.start :] = [Entry(turn, request, system)]
        if request.cell is not None:
            self._gone = [entry for entry in self._gone if entry.request.cell != request.cell]
        self._append(below, place.system)

    def _append(self, entries: Iterable[Entry], inherited: str | None) -> None:
        """Put turns after the last one; `inherited` is the system prompt there."""
        for entry in entries:
            inherited = inherited if entry.system is None else entry.system
            moved = replace(entry.turn, parent=self.last, system=inherited)
            self.entries.append(replace(entry, turn=moved))

    def use_model(self, model: Hashable, tokenize: Callable[[str], Iterable[int]]) -> None:
        """Let another model read the replies that stand there: as its own tokens.

        Parameters
        ----------
        model : hashable
            Names the model's vocabulary; the one in use already changes nothing, and coming back
            to one gives its tokens back as they were generated.
        tokenize : callable
            Its tokens for a text.
        """
        old, self._model = self._model, model
        if old in (None, model):
            return

        def translated(entry: Entry) -> Entry:
            turn = entry.turn
            self._replies[turn.id, old] = turn.reply
            known = self._replies.get((turn.id, model))
            # Not the control tokens of the model that wrote it: those are no text elsewhere.
            foreign = replace(turn.reply, text=turn.text, tokens=tuple(tokenize(turn.text)))
            return replace(entry, turn=replace(turn, reply=known or foreign))

        entries = [translated(entry) for entry in self.entries]
        self._gone = [translated(entry) for entry in self._gone]
        self.entries.clear()
        self._append(entries, None)

    def seed(self, request: Request, base: object) -> int:
        """A seed for the next `--resample` of a cell, the same in every kernel.

        Parameters
        ----------
        request : Request
            The cell; each of its draws counts up what is mixed into the seed.
        base : object
            What the seed depends on besides; its `str` counts.

        Returns
        -------
        int
            31 bits, as llama.cpp takes the largest 32-bit number for "random".
        """
        text = f"{self._draws[request.cell] + 1}\0{base}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=4, person=b"llmagic-resample").digest()
        return int.from_bytes(digest, "little") >> 1

    def drawn(self, request: Request) -> None:
        """Count a draw that became part of the conversation."""
        # A cell without a name is a new cell every time: its first draw is always the first.
        if request.cell is not None:
            self._draws[request.cell] += 1

    def clear(self) -> None:
        """Forget all turns. From now on none is taken over: cells join when they are run."""
        self.takes_over = False
        self.entries.clear()
        self._gone.clear()
        self._replies.clear()
        self._draws.clear()

    def _span(self, request: Request, above: int | None) -> tuple[int, int]:
        """Entries that the next turn of `request` replaces; an empty range to insert."""
        mine = [
            index
            for index, entry in enumerate(self.entries)
            if request.cell is not None and entry.request.cell == request.cell
        ]
        if not mine:
            at = len(self.entries) if above is None else above
            return at, at
        if self.entries[mine[-1]].request.execution == request.execution:
            return mine[-1] + 1, mine[-1] + 1
        return mine[0], mine[-1] + 1
