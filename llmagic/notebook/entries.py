"""A turn at its place in the notebook."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from llmagic.notebook.request import Request

if TYPE_CHECKING:
    from llmagic.session import Turn

MAIN = "main"
"""The thread of a cell that names none."""


@dataclass(frozen=True)
class Scope:
    """Which turns a cell sees, and whether those below see it.

    Attributes
    ----------
    thread : str
        Threads are conversations of their own: a turn sees those of its own thread only.
    side : bool
        It sees what stands above and does not join it.
    fresh : bool
        It sees no turn at all, and does not join either. The system prompt holds.
    """

    thread: str = MAIN
    side: bool = False
    fresh: bool = False

    @property
    def joins(self) -> bool:
        """Whether what stands below in the thread sees it."""
        return not (self.side or self.fresh)


@dataclass(frozen=True)
class Entry:
    """One turn at its place in the notebook.

    `system` is the system prompt given with this very cell ("" takes it away), None if the one
    above goes on. Every entry's `turn.parent` is the turn above it that its scope lets it see.
    """

    turn: Turn
    request: Request
    system: str | None
    scope: Scope = Scope()

    @cached_property
    def moved(self) -> bool:
        """Whether another turn stands above it than when it ran."""
        turn, parent = self.turn, self.turn.parent
        return turn.after is not None and turn.after != (parent.id if parent is not None else "")

    @property
    def place(self) -> tuple[object, ...]:
        """Tells it from other turns of the same content, wherever it stands now."""
        request = self.request
        execution = request.execution if request.cell is None else None
        return request.cell, execution, self.turn.id, self.scope
