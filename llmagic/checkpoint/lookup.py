"""The one lookup: from a wanted sequence to the longest part of it that need not be evaluated.

The longest resumable prefix wins, then the cheapest tier: still in the context, then in memory,
then on disk. A place is resumable where a checkpoint ends and, for memory that can be cut,
wherever an evaluation from nothing would have been cut (DESIGN D3, D6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmagic.checkpoint.live import Branch, Branches
from llmagic.checkpoint.tree import Node, Tree
from llmagic.sequence import Sequence, Step, common_prefix, until

if TYPE_CHECKING:
    from llmagic.checkpoint.disk import DiskTier


@dataclass(frozen=True)
class Place:
    """A place to resume at: in a live branch, at (or inside) a checkpoint, or at one on disk.

    Attributes
    ----------
    step : Step
        The last step that need not be evaluated.
    branch : Branch or None
        Where it is live.
    node : Node or None
        The checkpoint in memory that ends there or holds it.
    on_disk : int or None
        Its index in the wanted sequence, when its checkpoint is on disk only.
    lacks_state : bool
        The rows of `node` are in memory, and its state is on disk only.
    """

    step: Step
    branch: Branch | None = None
    node: Node | None = None
    on_disk: int | None = None
    lacks_state: bool = False

    @property
    def tier(self) -> str:
        """The slowest tier that something of it has to come from."""
        if self.branch is not None:
            return "live"
        return "disk" if self.node is None or self.lacks_state else "memory"


class Lookup:
    """All places at which a wanted sequence could be resumed, in any tier.

    Parameters
    ----------
    branches : Branches
    tree : Tree
    disk : DiskTier or None
    can_cut : bool
        One can resume inside a checkpoint, too.
    needs_state : bool
        Rows alone are not enough to resume.
    exact : bool
        Resume only where an evaluation from nothing would have been cut.
    """

    def __init__(
        self,
        branches: Branches,
        tree: Tree,
        disk: DiskTier | None,
        *,
        can_cut: bool,
        needs_state: bool,
        exact: bool,
    ) -> None:
        self._branches = branches
        self._tree = tree
        self._disk = disk
        self._can_cut = can_cut
        self._needs_state = needs_state
        self._exact = exact

    def nearest(self, sequence: Sequence) -> tuple[int, str]:
        """Tokens that need no evaluation, and their tier; nothing is moved."""
        place = next(self.places(sequence, set()), None)
        return (0, "none") if place is None else (place.step.stop, place.tier)

    def places(self, sequence: Sequence, lost: set[bytes]) -> Iterator[Place]:
        """Places to resume at, the best first; `lost` are digests that were tried in vain."""
        cut_anywhere = None if self._exact else self._longest_common(sequence)
        for index in range(len(sequence.steps) - 2, -1, -1):
            step = sequence.steps[index]
            if cut_anywhere is not None and cut_anywhere.step.stop >= step.stop:
                yield cut_anywhere
                cut_anywhere = None
            # What was evaluated in the same pieces first, then what only says the same.
            if step.key not in lost:
                yield from self._places_at(step.key)
                if step.boundary is not None and self._on_disk(step.key):
                    yield Place(step, on_disk=index)
            if step.content not in lost:
                yield from self._places_at(step.content)
        if cut_anywhere is not None:
            yield cut_anywhere

    def has_state(self, node: Node) -> bool:
        """Whether one can resume at a checkpoint: its ancestors on disk lent it rows only."""
        if not self._needs_state or node.payload.state is not None:
            return True
        return self._disk is not None and self._disk.has_state(node.key)

    def stands_on_disk(self, key: bytes) -> bool:
        """Whether a checkpoint on disk can be the parent of another."""
        return self._disk is not None and self._disk.has_rows(key)

    def _on_disk(self, key: bytes) -> bool:
        return self._disk is not None and self._disk.has(key)

    def _places_at(self, digest: bytes) -> Iterator[Place]:
        for branch in self._branches:
            found = branch.find(digest)
            if found is not None and (self._can_cut or found is branch.end):
                yield Place(found, branch=branch)
        node = self._tree.at(digest)
        # Of those that say the same, one may have lost its state to the budget and another not.
        nodes = [node] if node is not None else self._tree.with_content(digest)
        for node in filter(self.has_state, nodes):
            lacks_state = self._needs_state and node.payload.state is None
            yield Place(node.steps[-1], node=node, lacks_state=lacks_state)
        if not nodes and self._can_cut:
            node = self._tree.around(digest)
            if node is not None:
                inside = next(step for step in node.steps if digest in (step.key, step.content))
                yield Place(inside, node=node)

    def _longest_common(self, sequence: Sequence) -> Place | None:
        """The live branch that shares most tokens, cut at any token (`exact=False`)."""
        if not self._can_cut:
            return None
        best: Place | None = None
        for branch in self._branches:
            stop = min(_common_tokens(branch, sequence), sequence.n_tokens - 1)
            steps = until(branch.steps, stop)
            if steps and (best is None or steps[-1].stop > best.step.stop):
                best = Place(steps[-1], branch=branch)
        return best


def _common_tokens(branch: Branch, sequence: Sequence) -> int:
    """Tokens that a branch and a sequence share from the start on.

    Up to the last step of equal content there is nothing to compare.
    """
    steps = sequence.steps
    start = next((each.stop for each in reversed(steps) if branch.find(each.content)), 0)
    mine, theirs = (
        Sequence(tuple(each.span for each in some if each.start >= start))
        for some in (branch.steps, steps)
    )
    return start + common_prefix(mine, theirs)
