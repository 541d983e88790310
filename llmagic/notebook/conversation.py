"""Cells become turns: which turn a cell replaces, and which turns stand above it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmagic.errors import PromptError
from llmagic.notebook.entries import Entry, Scope
from llmagic.notebook.interrupts import held
from llmagic.notebook.order import Order
from llmagic.notebook.request import Cell, Document, Request
from llmagic.notebook.versions import Versions
from llmagic.recent import shared

if TYPE_CHECKING:
    from llmagic.session import Turn


@dataclass(frozen=True)
class Place:
    """Where a running cell stands: it will replace `entries[start:stop]`."""

    start: int
    stop: int
    after: Turn | None
    system: str | None
    scope: Scope = Scope()


class Conversation:
    """The turns of one notebook, in the order of its cells.

    Where the front end sends the notebook, `follow` brings the turns into its order. Otherwise the
    same cell again replaces its turn and sees what stood before it; a new cell is appended, and so
    is every execution of a cell without a name. One execution that asks more than once gives that
    many turns, one after the other.

    Ctrl-C waits for each change of it, half of which would lose the turns below.

    Attributes
    ----------
    versions : Versions
        Every turn there was, also those that were replaced.
    pinned : set of str
        Ids of turns whose checkpoints stay in memory.
    latest : Turn or None
        The one that was asked last, wherever it stands.
    """

    def __init__(self) -> None:
        self._order = Order()
        self.versions = Versions()
        self.pinned: set[str] = set()
        self.latest: Turn | None = None
        # Turns of cells that are no longer in the notebook; undoing that brings them back.
        self._gone: list[Entry] = []
        self.takes_over = True
        self._draws: Counter[str | None] = Counter()
        self._model: str | None = None
        self._replies: dict[tuple[str, str], Turn] = {}

    @property
    def entries(self) -> list[Entry]:
        """All threads and sides, in the order of the cells; not to be changed."""
        return self._order.entries

    @property
    def last(self) -> Turn | None:
        """The last turn of the notebook, None if there is none yet."""
        return self.entries[-1].turn if self.entries else None

    def __contains__(self, cell: str) -> bool:
        """Whether a cell has turns here."""
        return cell in self._order

    def known(self) -> Iterator[Entry]:
        """Every turn, also those of cells that are gone."""
        yield from self._gone
        yield from self.entries

    def threads(self) -> list[str]:
        """Names of the threads, by where they begin."""
        return list(dict.fromkeys(entry.scope.thread for entry in self.entries))

    # --- where cells stand ---------------------------------------------------------------------

    def lacking(self, document: Document, stop: int) -> list[Cell]:
        """Those of the first `stop` cells of the notebook that have no turn, here or put aside."""
        gone = {entry.request.cell for entry in self._gone}
        found = [cell for cell in self._order.lacking(document) if cell.id not in gone]
        return [cell for cell in found if document.index[cell.id] < stop]

    @held()
    def follow(self, document: Document, taken_over: Mapping[str, Entry]) -> None:
        """Bring the turns into the order of the notebook; those of cells it lacks are put aside.

        Parameters
        ----------
        document : Document
            The notebook.
        taken_over : dict of str to Entry
            A turn from elsewhere for each cell that has none here and gets one.
        """
        back = any(entry.request.cell in document.index for entry in self._gone)
        if not taken_over and not back and self._order.follows(document):
            return
        groups: dict[str | None, list[Entry]] = {}
        for entry in self.known():
            groups.setdefault(entry.request.cell, []).append(entry)
        new: set[str] = set()
        for cell, entry in taken_over.items():
            if cell not in groups:
                groups[cell] = [entry]
                new.add(cell)
        ordered = [entry for cell in document.cells for entry in groups.pop(cell.id, ())]
        # A turn without a cell is nowhere in a notebook.
        self._gone = [entry for group in groups.values() for entry in group if entry.request.cell]
        # Where nothing moved, every turn has its parent already.
        n = shared(self.entries, ordered)
        self._append(self._order.take(document, ordered, n))
        for entry in self.entries if new else ():  # with what they stand on
            if entry.request.cell in new:
                self.versions.add(entry)

    def above(self, document: Document, cell: str | None) -> int:
        """Turns that stand above a cell of the notebook."""
        return self._order.above(document, cell)

    def place(
        self,
        request: Request,
        *,
        system: str | None = None,
        above: int | None = None,
        scope: Scope = Scope(),
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
        scope : Scope
            What it sees.
        """
        start, stop = self._span(request, above)
        after, inherited = self._end(start, scope)
        return Place(start, stop, after, inherited if system is None else system, scope)

    @held()
    def put(self, place: Place, turn: Turn, request: Request, *, system: str | None = None) -> None:
        """Store `turn` at its place; the turns below it now follow it."""
        entry = Entry(turn, request, system, place.scope)
        self.latest = turn
        self.versions.add(entry)
        below = self._order.cut(place.start)[place.stop - place.start :]
        self._order.add(entry)
        if request.cell is not None:
            self._gone = [each for each in self._gone if each.request.cell != request.cell]
        self._append(below)

    @held()
    def restore(self, cell: str, turn: str) -> Entry | None:
        """Put an earlier turn of a cell back in its place.

        Returns
        -------
        Entry or None
            That turn, with the source that gave it; None if the cell never had it, or is gone.
        """
        entry = self.versions.of(cell).get(turn)
        if entry is None or cell not in self:
            return None
        start, stop = self._span(replace(entry.request, execution=""), None)
        below = self._order.cut(start)[stop - start :]
        self.versions.add(entry)
        self._append([entry, *below])
        return self.entries[start]

    @held()
    def remove(self, entries: Iterable[Entry]) -> None:
        """Forget turns: they are neither in the conversation nor among the versions any more.

        Other cells may have turns of the same content; those stay.
        """
        given = {entry.place: entry for entry in entries}
        kept = [entry for entry in self.entries if entry.place not in given]
        self._gone = [entry for entry in self._gone if entry.place not in given]
        cells = {(entry.request.cell, entry.turn.id) for entry in (*kept, *self._gone)}
        self.versions.remove(
            entry for entry in given.values() if (entry.request.cell, entry.turn.id) not in cells
        )
        self._order.cut(0)
        self._append(kept)
        if self.latest is not None and not self.has(self.latest.id):
            self.latest = None

    def has(self, turn: str) -> bool:
        """Whether a turn of this id stands anywhere, or did."""
        return any(entry.turn.id == turn for entry in (*self.known(), *self.versions))

    def all_of(self, turn: str) -> list[Entry]:
        """Every place at which a turn of this id stands or stood."""
        every = (*self.known(), *self.versions)
        return [*{each.place: each for each in every if each.turn.id == turn}.values()]

    def _append(self, entries: Iterable[Entry]) -> None:
        """Put turns after the last one."""
        ends: dict[str, tuple[Turn | None, str | None]] = {}
        for entry in entries:
            scope = entry.scope
            if scope.thread not in ends:
                ends[scope.thread] = self._end(len(self.entries), Scope(scope.thread))
            parent, system = ends[scope.thread]
            system = system if entry.system is None else entry.system
            moved = entry.turn.standing_on(None if scope.fresh else parent, system)
            self._order.add(Entry(moved, entry.request, entry.system, scope))
            if scope.joins:
                ends[scope.thread] = moved, system

    def _span(self, request: Request, above: int | None) -> tuple[int, int]:
        """Entries that the next turn of `request` replaces; an empty range to insert."""
        mine = self._order.span(request.cell)
        if mine is None:
            at = len(self.entries) if above is None else above
            return at, at
        start, stop = mine
        if self.entries[stop - 1].request.execution == request.execution:
            return stop, stop
        return start, stop

    def _end(self, stop: int, scope: Scope) -> tuple[Turn | None, str | None]:
        """The last turn and the system prompt that a cell of this scope sees before `stop`."""
        for index in range(stop - 1, -1, -1):
            entry = self.entries[index]
            if entry.scope.joins and entry.scope.thread == scope.thread:
                return None if scope.fresh else entry.turn, entry.turn.system
        return None, None

    # --- what is stale -------------------------------------------------------------------------

    def stale(self, sources: Mapping[str, str], stop: int | None = None) -> list[str]:
        """Why each entry is stale: "edited", "above", or "" for a fresh one.

        A turn is stale if its cell was edited since it ran, if another turn stands above it than
        when it ran, or if the one above it is stale.

        Parameters
        ----------
        sources : dict of str to str
            How cells read now, by id; a cell that is not named counts as unchanged.
        stop : int, optional
            Entries to look at, from the first on; all by default.
        """
        reasons = []
        stale: set[int] = set()
        for entry in self.entries[:stop]:
            now = sources.get(entry.request.cell or "")
            if now is not None and entry.request.source not in (None, now):
                reason = "edited"
            else:
                reason = "above" if entry.moved or id(entry.turn.parent) in stale else ""
            if reason:
                stale.add(id(entry.turn))
            reasons.append(reason)
        return reasons

    def stale_above(self, place: Place, document: Document | None) -> list[Entry]:
        """The stale turns that a cell at `place` of the notebook sees."""
        if place.scope.fresh or self._order.fresh(document, place.start, place.stop):
            return []
        reasons = self.stale(document.sources if document is not None else {}, place.start)
        return [
            entry
            for entry, reason in zip(self.entries, reasons, strict=False)
            if reason and entry.scope.joins and entry.scope.thread == place.scope.thread
        ]

    # --- another model, another draw -----------------------------------------------------------

    @held()
    def use_model(self, model: str, tokenize: Callable[[str], Iterable[int]]) -> None:
        """Let another model read the replies that stand there (`Turn.read_by`).

        Parameters
        ----------
        model : str
            Digest of the model; the one in use already changes nothing, and coming back
            to one gives its tokens back as they were generated.
        tokenize : callable
            Its tokens for a text.
        """
        old, self._model = self._model, model
        if old in (None, model):
            return

        def translated(entry: Entry) -> Entry:
            turn = entry.turn
            self._replies[turn.id, old] = turn
            known = self._replies.get((turn.id, model))
            if known is not None:
                whole = replace(
                    turn,
                    reply=known.reply,
                    rounds=known.rounds,
                    tools=known.tools,
                    tokens_of=known.tokens_of,
                )
                return replace(entry, turn=whole)
            try:
                return replace(entry, turn=turn.read_by(model, tokenize))
            except PromptError:  # a character it cannot write, which a cell below will be told of
                return entry

        entries = [translated(entry) for entry in self.entries]
        self._gone = [translated(entry) for entry in self._gone]
        self.versions.change(translated)
        self._order.cut(0)
        self._append(entries)

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
        self.latest = None
        self._order.cut(0)
        self.versions.clear()
        self._gone.clear()
        self._replies.clear()
        self._draws.clear()
