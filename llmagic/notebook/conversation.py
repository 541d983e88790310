"""Cells become turns: which turn a cell replaces, and which turns stand above it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmagic.notebook.request import Request

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

    The same cell again replaces its turn and sees what stood before it; a new cell is appended,
    and so is every execution of a cell without a name. One execution that asks more than once
    gives that many turns, one after the other. Nothing changes before `put`.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._draws: Counter[str | None] = Counter()
        self._model: Hashable = None
        self._replies: dict[tuple[str, Hashable], ReplyPart] = {}

    @property
    def last(self) -> Turn | None:
        """The last turn of the notebook, None if there is none yet."""
        return self.entries[-1].turn if self.entries else None

    def place(self, request: Request, *, system: str | None = None) -> Place:
        """Where the running cell stands.

        Parameters
        ----------
        request : Request
            The running cell.
        system : str, optional
            The system prompt from this cell on; None keeps the one above.
        """
        start, stop = self._span(request)
        if system is None:
            given = (entry.system for entry in reversed(self.entries[:start]))
            system = next((text for text in given if text is not None), None)
        return Place(start, stop, self.entries[start - 1].turn if start else None, system)

    def put(self, place: Place, turn: Turn, request: Request, *, system: str | None = None) -> None:
        """Store `turn` at its place; the turns below it now follow it."""
        below = self.entries[place.stop :]
        self.entries[place.start :] = [Entry(turn, request, system)]
        inherited = place.system
        for entry in below:
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
        entries, self.entries = self.entries, []
        for entry in entries:
            turn = entry.turn
            self._replies[turn.id, old] = turn.reply
            known = self._replies.get((turn.id, model))
            # Not the control tokens of the model that wrote it: those are no text elsewhere.
            foreign = replace(turn.reply, text=turn.text, tokens=tuple(tokenize(turn.text)))
            reply = known or foreign
            turn = replace(turn, parent=self.last, reply=reply)
            self.entries.append(replace(entry, turn=turn))

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
        """Forget all turns."""
        self.entries.clear()
        self._replies.clear()
        self._draws.clear()

    def _span(self, request: Request) -> tuple[int, int]:
        """Entries that the next turn of `request` replaces; an empty range to insert."""
        mine = [
            index
            for index, entry in enumerate(self.entries)
            if request.cell is not None and entry.request.cell == request.cell
        ]
        if not mine:
            return len(self.entries), len(self.entries)
        if self.entries[mine[-1]].request.execution == request.execution:
            return mine[-1] + 1, mine[-1] + 1
        return mine[0], mine[-1] + 1
