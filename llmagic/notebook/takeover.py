"""Turns of cells that did not run in this kernel, by the ids their outputs show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from llmagic.notebook.conversation import Conversation
from llmagic.notebook.entries import Entry
from llmagic.notebook.options import options_of, scope_of
from llmagic.notebook.request import MOST_CELLS, Cell, Document, Request

if TYPE_CHECKING:
    from llmagic.session import Session, Turn


@dataclass
class Taken:
    """What became of the cells above that have not run here.

    Attributes
    ----------
    entries : dict of str to Entry
        The turns that were found, by the id of their cell.
    stored : int
        How many of them came from the store.
    edited, missing : int
        Cells that were edited since their turn (or whose kernel was killed after it had stored the
        turn and before it stored whose it was), and turns that are nowhere: both are left out.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    stored: int = 0
    edited: int = 0
    missing: int = 0

    def notices(self) -> Iterator[str]:
        """One line for the user about each."""
        if self.stored:
            yield f"{_were(self.stored, 'turn')} taken over from the store."
        if self.edited:
            yield (
                f"{_were(self.edited, 'cell')} edited since the last run, or that run was not "
                "stored in time: not part of the context until run again."
            )
        if self.missing:
            yield (
                f"{_were(self.missing, 'turn')} not in the store: not part of the context until "
                "the cell is run again."
            )


def take_over(
    cells: Iterable[Cell], session: Session, elsewhere: Callable[[], Iterable[Entry]]
) -> Taken:
    """Find the turns of cells that have none in the conversation.

    Parameters
    ----------
    cells : iterable of Cell
        Those cells.
    session : Session
        Its store has the turns of earlier kernels.
    elsewhere : callable
        The turns this kernel knows under other cells: a cell that was copied, a notebook that was
        renamed.
    """
    taken = Taken()
    wanted = [cell for cell in cells if cell.turn is not None]
    known = {entry.turn.id: entry for entry in elsewhere()} if wanted else {}
    for cell in wanted:
        assert cell.turn is not None
        if cell.turn in known:
            entry = known[cell.turn]
            request = replace(entry.request, cell=cell.id)
            taken.entries[cell.id] = replace(entry, request=request)
            continue
        turn = session.recall(cell.turn, after=None, source=cell.source)
        if turn is not None:
            request = Request(cell.id, f"taken over: {cell.id}", cell.source)
            given = options_of(cell.source)
            taken.entries[cell.id] = Entry(turn, request, given.system, scope_of(given))
            taken.stored += 1
        elif session.recall(cell.turn, after=None) is not None:
            taken.edited += 1
        else:
            taken.missing += 1
    return taken


def follow(
    conversation: Conversation,
    document: Document,
    stop: int,
    session: Session | None,
    elsewhere: Callable[[], Iterable[Entry]],
) -> Taken:
    """Bring a conversation into the order of its notebook.

    The first `stop` cells get turns from elsewhere where they have none.
    """
    taken = Taken()
    if conversation.takes_over and session is not None:
        taken = take_over(conversation.lacking(document, stop), session, elsewhere)
    conversation.follow(document, taken.entries)
    return taken


def earlier_versions(conversation: Conversation, session: Session) -> None:
    """Add what the store has of the cells' earlier turns to the versions of a conversation."""
    versions = conversation.versions
    known = {entry.turn.id: entry.turn for entry in [*conversation.known(), *versions]}
    for entry in conversation.entries:
        cell, turn = entry.request.cell, entry.turn
        if cell is None or turn.id in versions.asked:
            continue
        versions.asked.add(turn.id)
        found = []
        for earlier, source in session.earlier(turn):
            given = options_of(source)
            request = Request(cell, f"taken over: {earlier.id}", source)
            whole = _with_parents(earlier, session, known)
            found.append(Entry(whole, request, given.system, scope_of(given)))
        versions.add_older(cell, found)

    def as_given(entry: Entry) -> Entry:
        # One that was taken over stands on what is above it now.
        turn, parent = entry.turn, entry.turn.parent
        if turn.after in (None, parent.id if parent is not None else ""):
            return entry
        return replace(entry, turn=_with_parents(turn, session, known))

    versions.change(as_given)


def _with_parents(turn: Turn, session: Session, known: dict[str, Turn]) -> Turn:
    """A turn from the store with what it stood on, as far as that is known."""
    path = [turn]
    while (after := path[-1].after) and after not in known and len(path) < MOST_CELLS:
        above = session.recall(after, after=None)
        if above is None:
            break
        path.append(above)
    parent = known.get(path[-1].after or "")
    for each in reversed(path):
        parent = known[each.id] = replace(each, parent=parent)
    return known[turn.id]


def _were(number: int, noun: str) -> str:
    return f"{number} {noun} above was" if number == 1 else f"{number} {noun}s above were"
