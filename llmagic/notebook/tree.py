"""The tree of turns: which stand on which, which cell shows them, where their state is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmagic.notebook.conversation import Conversation
from llmagic.notebook.entries import Entry

if TYPE_CHECKING:
    from llmagic.session import Session


@dataclass(frozen=True)
class Branch:
    """One turn of the tree.

    Attributes
    ----------
    entry : Entry
        As it stood when it was given.
    parent : str or None
        Id of the turn it was drawn after, if that is in the tree.
    numbers : tuple of int
        Its numbers in `%llm history`: several where cells show the same content, none for one that
        no cell shows any more.
    stale : str
        "edited", "above" or "".
    kept : dict
        `tokens`, `live` of them, bytes in `memory` and on `disk`; empty without a model that can
        take the turn.
    pinned : bool
    """

    entry: Entry
    parent: str | None
    numbers: tuple[int, ...]
    stale: str
    kept: Mapping[str, int]
    pinned: bool

    @property
    def number(self) -> int | None:
        """The last of its numbers."""
        return self.numbers[-1] if self.numbers else None

    @property
    def tiers(self) -> list[str]:
        """Where its state is, the quickest first."""
        return [tier for tier in ("live", "memory", "disk") if self.kept.get(tier)]


def tree(
    conversation: Conversation, sources: Mapping[str, str], session: Session | None
) -> list[Branch]:
    """Every turn of a notebook, parents before what stands on them.

    Parameters
    ----------
    conversation : Conversation
    sources : dict of str to str
        How cells read now, by id.
    session : Session or None
        Knows where the state is.
    """
    cells = {entry.turn.id: entry.request.cell for entry in conversation.entries}
    entries: dict[str, Entry] = {}
    for entry in [*conversation.versions, *conversation.entries]:
        turn = entry.turn.id
        known = entries.get(turn)
        # Of the cells that gave it, the last one that shows it.
        if known is None or known.request.cell != cells.get(turn) == entry.request.cell:
            entries[turn] = entry
    # Content decides: a turn that two cells show is one turn.
    shown: dict[str, list[int]] = {}
    for number, entry in enumerate(conversation.entries, 1):
        shown.setdefault(entry.turn.id, []).append(number)
    reasons = conversation.stale(sources)
    found = []
    for turn, entry in entries.items():
        after = entry.turn.after
        if after is None and entry.turn.parent is not None:
            after = entry.turn.parent.id
        numbers = tuple(shown.get(turn, ()))
        found.append(
            Branch(
                entry,
                after if after in entries and after != turn else None,
                numbers,
                reasons[numbers[-1] - 1] if numbers else "",
                {} if session is None else session.held(entry.turn),
                turn in conversation.pinned,
            )
        )
    return _parents_first(found)


def depths(branches: list[Branch]) -> dict[str, int]:
    """How many turns stand above each turn, by id."""
    found: dict[str, int] = {}
    for branch in branches:
        above = -1 if branch.parent is None else found.get(branch.parent, -1)
        found[branch.entry.turn.id] = above + 1
    return found


def _parents_first(branches: list[Branch]) -> list[Branch]:
    """Depth first; of the turns after one turn those that cells show come last, in their order."""
    below: dict[str | None, list[Branch]] = {}
    for branch in branches:
        below.setdefault(branch.parent, []).append(branch)
    for children in below.values():
        children.sort(key=lambda each: each.number or 0)
    ordered: list[Branch] = []
    waiting = below.get(None, [])[::-1]
    while waiting:
        branch = waiting.pop()
        ordered.append(branch)
        waiting.extend(below.pop(branch.entry.turn.id, [])[::-1])
    return ordered
