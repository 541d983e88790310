"""A conversation in which cells fail, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from llmagic.session import Session, Turn
from tests.faults.injecting import Ear, Injected
from tests.regressions.checks import (
    LONG,
    Pixels,
    ask,
    assert_holds,
    assert_right,
    assert_stored_right,
    forget_live,
    noise,
)

Faulty = AbstractContextManager[Injected]
PLACES = (1, 2, 3, 5, 8, 13)
"""Which of the calls fails, in a cell each."""


@dataclass
class Attempt:
    """A cell with a fault: what came of it."""

    parent: Turn
    items: list[str | Pixels]
    ear: Ear = field(default_factory=Ear)
    fault: Injected = field(default_factory=Injected)
    turn: Turn | None = None
    error: BaseException | None = None

    @property
    def given(self) -> Turn:
        assert self.turn is not None
        return self.turn


class Notebook:
    """Two turns, with a picture where the toy sees, and more tokens than a window holds.

    Every cell that follows asks something new, so each has to restore, evaluate and save. With
    `stored` there is nothing live to go on from.
    """

    def __init__(self, session: Session, *, stored: bool) -> None:
        self.session, self.stored = session, stored
        self.has_window = session.engine.model.n_swa > 0
        self.can_cut = session.engine.checkpoints.can_cut
        self._sees, self._n = session.engine.projector is not None, 0
        self.first = ask(session, *self.question(), after=None, system="You help.")
        self.last = ask(session, LONG if self.has_window else "Tell me more.")

    def question(self) -> list[str | Pixels]:
        self._n += 1
        return [f"{self._n}: look. ", *([noise(self._n)] if self._sees else []), "Well?"]

    def attempt(self, fault: Faulty, after: Turn | None = None, **settings: Any) -> Attempt:
        """Run a cell in which a fault is injected.

        The conversation is unchanged if it fails and the reply right if it does not; no wrong
        checkpoint is left behind.
        """
        session, parent = self.session, after or self.last
        before = [node.key for node in session.engine.checkpoints.tree]
        if self.stored:
            forget_live(session)
        session.last = parent
        cell = Attempt(parent, self.question())
        try:
            with fault as cell.fault:
                cell.turn = ask(session, *cell.items, after=parent, on_event=cell.ear, **settings)
        except BaseException as error:  # an interrupt is no Exception
            cell.error = error
            assert session.last is parent
        else:
            # Where a stop text was taken back, the last logits are those behind it.
            right = assert_holds if cell.given.stop == "stop" else assert_right
            right(session, cell.given)
        assert_stored_right(session, before)
        return cell

    def check(self, cell: Attempt) -> None:
        """The next cells are right, going on from what is live as well as from what is stored."""
        again = ask(self.session, *cell.items, after=cell.parent)
        assert_right(self.session, again)
        forget_live(self.session)
        assert_right(self.session, ask(self.session, "And?", after=again))

    def sweep(self, fault: Callable[[int], Faulty], **more: Any) -> list[Attempt]:
        """Cells in which the first call fails, the second, and some more while there are any."""
        cells: list[Attempt] = []
        for at in PLACES:
            cell = self.attempt(fault(at), **more)
            if not cell.fault.failed:
                break
            self.check(cell)
            cells.append(cell)
        assert cells, "the fault was never met"
        return cells
