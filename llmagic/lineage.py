"""Which turns a cell gave one after the other: what a later kernel knows of its versions."""

from __future__ import annotations

import hashlib

from llmagic.archive import VERSION, Archive
from llmagic.store import Kind

MOST = 64
"""Earlier turns that are remembered of one turn; they lead to others."""


class Lineage:
    """Remembers of turns what their cells gave before them.

    There is no list of a cell's turns, which kernels would have to change: each turn has files of
    its own, numbered, that name one earlier turn each. A cell shows a turn, and from that all the
    others are reached. Texts are in the turns alone, so forgetting those forgets all.

    Parameters
    ----------
    archive : Archive
        Has the turns.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._before: dict[str, list[str]] = {}

    def add(self, turn: str, before: str) -> None:
        """Remember that a cell gave turn `before`, and then `turn` (ids); once, if it is known."""
        known = self._read_on(turn)  # two kernels may have the turn, and write the same numbers
        if before == turn or before in self.of(turn) or len(known) >= MOST:
            return
        document = {"version": VERSION, "turn": turn, "before": before}
        self._archive.write(Kind.ASKED, self._name(turn, len(known)), document)
        known.append(before)

    def of(self, turn: str) -> list[str]:
        """Ids of the turns that the cell of a turn gave besides, the newest last."""
        found = {turn: None}
        waiting = [turn]
        while waiting:
            for before in reversed(self._known(waiting.pop(0))):
                if before not in found:
                    found[before] = None
                    waiting.append(before)
        return [*found][:0:-1]

    def touch(self, turn: str) -> None:
        """Mark what is remembered of a turn as used: without its first file none is found."""
        for number in range(len(self._known(turn))):
            self._archive.touch_file(Kind.ASKED, self._name(turn, number))

    def _known(self, turn: str) -> list[str]:
        """What came directly before a turn; read once."""
        known = self._before.get(turn)
        return self._read_on(turn) if known is None else known

    def _read_on(self, turn: str) -> list[str]:
        """What came directly before a turn, also what other kernels wrote since it was read."""
        known = self._before.setdefault(turn, [])
        while len(known) < MOST and (
            document := self._archive.read(Kind.ASKED, self._name(turn, len(known)))
        ):
            known.append(str(document.get("before")))
        return known

    def _name(self, turn: str, number: int) -> bytes:
        key = self._archive.key(turn) + number.to_bytes(2, "little")
        return hashlib.blake2b(key, digest_size=16, person=b"llmagic-earlier").digest()
