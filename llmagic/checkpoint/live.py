"""Branches that are still inside the context, sharing the cells of their common prefix."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from llmagic.model.context import Context
from llmagic.sequence import Step, until


class Branch:
    """One sequence of the context and how it was evaluated."""

    def __init__(self, sequence: int, steps: list[Step]) -> None:
        self.sequence = sequence
        self.steps = steps
        self._index: dict[bytes, int] = {}
        for index, step in enumerate(steps):
            self._register(index, step)
        self.used = 0

    @property
    def end(self) -> Step | None:
        """The last step; None for an empty branch."""
        return self.steps[-1] if self.steps else None

    @property
    def n_tokens(self) -> int:
        return self.steps[-1].stop if self.steps else 0

    @property
    def next_position(self) -> int:
        return self.steps[-1].next_position if self.steps else 0

    def append(self, step: Step) -> None:
        """Record a step that was evaluated."""
        step = step.bare()
        self._register(len(self.steps), step)
        self.steps.append(step)

    def truncate(self, stop: int) -> None:
        """Forget the steps after the first `stop` tokens; their cells were cut."""
        # All but the last of those that end before it are as they were.
        first = max(bisect_right(self.steps, stop, key=lambda step: step.stop) - 1, 0)
        ending = self.steps[first:]
        for step in ending:
            self._index.pop(step.key, None)
            self._index.pop(step.content, None)
        self.steps[first:] = until(ending, stop)
        for index, step in enumerate(self.steps[first:], first):
            self._register(index, step)

    def _register(self, index: int, step: Step) -> None:
        # Keys and contents are digests of different kinds; they share one table.
        self._index[step.key] = self._index[step.content] = index

    def find(self, digest: bytes) -> Step | None:
        """The step of this key, or with this content, if it was evaluated here."""
        index = self._index.get(digest)
        return None if index is None else self.steps[index]


class Branches:
    """The live branches of one context.

    Parameters
    ----------
    context : Context
        With at least `count` + 1 sequences; one more than may live, so that a branch can be
        forked before another is given up.
    count : int
        Branches kept at once.
    """

    def __init__(self, context: Context, count: int) -> None:
        self._context = context
        self._count = count
        self._free = list(range(count + 1))
        self._branches: list[Branch] = []
        self._clock = 0

    def __iter__(self) -> Iterator[Branch]:
        return iter(list(self._branches))

    def __len__(self) -> int:
        return len(self._branches)

    def fork(self, base: Branch | None, stop: int, position: int) -> Branch:
        """A new branch that shares the first `stop` tokens (up to `position`) of another.

        No attention bytes move. What cannot be cut (windows, recurrent rows) is the base's, at
        its end: the caller restores the state that belongs to `position`.
        """
        sequence = self._free[0]
        self._context.clear(sequence)
        if base is not None and stop > 0:
            self._context.copy(base.sequence, sequence, 0, position)
        branch = Branch(sequence, until(base.steps, stop) if base is not None else [])
        while len(self._branches) >= self._count:
            self.drop_oldest(keep=branch)
        # Only now, so that an exception on the way neither loses the sequence for good nor leaves
        # a branch behind that is not what it says.
        self._free.remove(sequence)
        self._branches.append(branch)
        self.touch(branch)
        return branch

    def touch(self, branch: Branch) -> None:
        """Mark a branch as used now."""
        self._clock += 1
        branch.used = self._clock

    def drop(self, branch: Branch) -> None:
        """Forget a branch; cells it shares stay with the others."""
        self._branches.remove(branch)
        self._free.append(branch.sequence)
        self._context.clear(branch.sequence)

    def drop_oldest(self, *, keep: Branch) -> bool:
        """Forget the least recently used branch but `keep`; False where there is no other."""
        others = [branch for branch in self._branches if branch is not keep]
        if not others:
            return False
        self.drop(min(others, key=lambda branch: branch.used))
        return True

    def drop_all(self) -> None:
        """Forget every branch."""
        for branch in self:
            self.drop(branch)
