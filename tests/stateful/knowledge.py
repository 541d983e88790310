"""What a session must know, kept beside it: the fewest tokens a turn has to evaluate.

A place is known once a turn evaluated it, until something forgets it. A memory that can be cut can
be resumed at every place, another at boundaries only (DESIGN D4, D6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.stateful.pieces import Piece, Place, places, shared


@dataclass
class Known:
    """A place that was evaluated in the canonical pieces, in other ones, or in both ways."""

    trail: bytes
    exact: bool = False
    inexact: bool = False


@dataclass(frozen=True)
class Start:
    """Where a turn begins to evaluate: tokens known, and whether they are exact."""

    stop: int = 0
    exact: bool = True


class Knowledge:
    """Places that need no evaluation.

    Parameters
    ----------
    everywhere : bool
        Whether every place is as good as a boundary.
    """

    def __init__(self, *, everywhere: bool) -> None:
        self.everywhere = everywhere
        self._known: dict[bytes, Known] = {}
        self._last: Sequence[Piece] = ()

    def forget(self) -> None:
        """Nothing is known any more."""
        self._known.clear()
        self._last = ()

    def start(self, canonical: Sequence[Piece], *, any_token: bool = False) -> Start:
        """Where the evaluation of a sequence must begin, or later.

        `any_token`: what the last turn left in the context can be cut everywhere.
        """
        best = Start()
        ends = places(canonical)
        for place in ends[:-1]:
            known = self._known.get(place.content)
            if known is not None:
                best = Start(place.stop, known.exact)
        if any_token:
            stop = min(shared(self._last, canonical), ends[-1].stop - 1)
            if stop > best.stop:
                return Start(stop, False)
        return best

    def at(self, canonical: Sequence[Piece], stop: int) -> Known | None:
        """How the first `stop` tokens are known."""
        for place in places(canonical):
            if place.stop == stop:
                return self._known.get(place.content)
        return None

    def learn(
        self, canonical: Sequence[Piece], evaluated: Sequence[Piece], start: Start, until: int
    ) -> None:
        """A turn resumed at `start` and evaluated what follows, boundaries up to `until`."""
        trails = {place.stop: place.trail for place in places(canonical)}
        exact = start.exact
        found = [place for place in places(evaluated) if start.stop < place.stop <= until]
        last = max((place.stop for place in found if place.boundary is not None), default=0)
        for place in found:
            # What follows the last boundary is not stored, and lives only in the context.
            if place.stop > last or not (self.everywhere or place.boundary is not None):
                continue
            exact = start.exact and place.trail == trails.get(place.stop)
            trail = trails.get(place.stop, b"")
            known = self._known.setdefault(place.content, Known(trail))
            known.exact |= exact
            known.inexact |= not exact

    def remember_last(self, evaluated: Sequence[Piece]) -> None:
        """The context holds this now."""
        self._last = evaluated

    def keep(self, survivors: Iterable[Place]) -> None:
        """Forget what is not among these places."""
        trails: dict[bytes, set[bytes]] = {}
        for place in survivors:
            trails.setdefault(place.content, set()).add(place.trail)
        for content, known in list(self._known.items()):
            found = trails.get(content, set())
            known.exact &= known.trail in found
            known.inexact &= bool(found - {known.trail})
            if not (known.exact or known.inexact):
                del self._known[content]

    def __len__(self) -> int:
        return len(self._known)
