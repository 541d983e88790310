"""The live branches and stored checkpoints of one context: resuming at one, and saving one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmagic.checkpoint.live import Branch, Branches
from llmagic.checkpoint.lookup import Lookup, Place
from llmagic.checkpoint.payload import Layout, Payload, Payloads, has_state
from llmagic.checkpoint.tree import Node, Tree
from llmagic.errors import CheckpointError, EvaluationError
from llmagic.model.context import Bytes, Context
from llmagic.model.loading import Memory
from llmagic.sequence import Sequence, Step

if TYPE_CHECKING:
    from llmagic.checkpoint.disk import DiskTier


@dataclass
class Resumed:
    """Where an evaluation begins.

    Attributes
    ----------
    branch : Branch
        The live branch that now holds the first `tokens` tokens.
    tokens, images : int
        How much of the sequence needs no evaluation.
    tier : str
        "live" when no attention bytes moved, "memory", "disk", or "none".
    n_bytes : int
        Bytes copied into the context.
    seconds : float
        Time it took.
    notices : list of str
        What the user should know, such as a checkpoint that could not be used.
    """

    branch: Branch
    tokens: int = 0
    images: int = 0
    tier: str = "none"
    n_bytes: int = 0
    seconds: float = 0.0
    notices: list[str] = field(default_factory=list)


class Checkpoints:
    """Live branches and stored checkpoints of one context, looked up together.

    Parameters
    ----------
    context : Context
        With `n_sequences` + 2 sequences: one for a branch in the making, one for scratch.
    memory : Memory
    layout : Layout
    budget : int
        Bytes of stored checkpoints.
    n_sequences : int
        Live branches.
    exact : bool
        Resume only where an evaluation from nothing would have been cut.
    disk : DiskTier, optional
        Where checkpoints outlive the process.
    """

    def __init__(
        self,
        context: Context,
        memory: Memory,
        layout: Layout,
        *,
        budget: int,
        n_sequences: int,
        exact: bool = True,
        disk: DiskTier | None = None,
    ) -> None:
        self.memory = memory
        self.layout = layout
        self.tree = Tree(budget)
        self.disk = disk
        self._exact = exact
        self._needs_state = has_state(memory, layout)
        # Cutting needs the ranged calls that a whole-blob model is not asked.
        self.can_cut = memory.can_be_cut and layout is Layout.DELTA
        self.slides = memory is Memory.SWA and layout is Layout.SPLIT
        self._n_sequences = n_sequences
        self.use(context)

    def use(self, context: Context) -> None:
        """Go on in another context of the same model; what was live in the old one is stored."""
        self.context = context
        self.branches = Branches(context, self._n_sequences)
        self.payloads = Payloads(context, self.memory, self.layout, self._n_sequences + 1)
        self.lookup = Lookup(
            self.branches,
            self.tree,
            self.disk,
            can_cut=self.can_cut,
            needs_state=self._needs_state,
            exact=self._exact,
        )

    def put_back(self, branch: Branch, taken: Payload) -> Branch:
        """A branch of the context before this one, which ended as `taken` does, in this one.

        Raises
        ------
        CheckpointError
            llama.cpp refused; there is no such branch.
        """
        moved = self.branches.fork(None, 0, 0)
        try:
            self.payloads.put(moved.sequence, [taken], taken)
        except BaseException:
            self.branches.drop(moved)
            raise
        for step in branch.steps:
            moved.append(step)
        return moved

    # Resuming -------------------------------------------------------------------------------

    def resume(self, sequence: Sequence) -> Resumed:
        """Bring the longest resumable prefix of `sequence` into a live branch.

        At least one token is left to evaluate: logits are no part of a state. Never fails: a
        checkpoint that llama.cpp refuses is dropped, and the next nearest one is taken.
        """
        begin = time.perf_counter()
        notices: list[str] = []
        resumed: Resumed | None = None
        lost: set[bytes] = set()
        while resumed is None:
            place = next(self.lookup.places(sequence, lost), None)
            if place is not None:
                # Not tried twice. Other pieces of the same content may still be in memory.
                lost |= {place.step.key}
                lost |= {place.step.content} if place.on_disk is None else set()
            if place is None:
                resumed = Resumed(self.branches.fork(None, 0, 0))
            elif place.branch is not None:
                resumed = self._continue(place.branch, place.step)
            elif place.node is not None:
                resumed = self._load(place.node, place.step, notices)
            else:
                resumed = self._fetch(sequence, place, notices)
        self.tree.evict()
        end = resumed.branch.end
        resumed.tokens = end.stop if end is not None else 0
        resumed.images = end.images if end is not None else 0
        resumed.seconds = time.perf_counter() - begin
        resumed.notices = notices
        return resumed

    def nearest(self, sequence: Sequence) -> tuple[int, str]:
        """Tokens that `resume` would restore of a sequence, and their tier; nothing is moved."""
        return self.lookup.nearest(sequence)

    def _continue(self, branch: Branch, step: Step) -> Resumed:
        """Go on in a live branch, at its end or before it."""
        if step is branch.end:
            self.branches.touch(branch)
        else:
            branch = self._beginning(branch, step)
        node = self.tree.at(step.key)
        if node is not None:
            self.tree.touch(node)
        return Resumed(branch, tier="live")

    def _fetch(self, sequence: Sequence, place: Place, notices: list[str]) -> Resumed | None:
        """Load a checkpoint from disk; None when it is not there after all."""
        assert self.disk is not None
        assert place.on_disk is not None
        node = self.disk.fetch(sequence.steps, place.on_disk, self.tree)
        resumed = self._load(node, place.step, notices) if node is not None else None
        if resumed is not None:
            resumed.tier = "disk"
        return resumed

    def _load(self, node: Node, step: Step, notices: list[str]) -> Resumed | None:
        """Load a stored checkpoint; None when it had to be dropped."""
        lacks_state = self._needs_state and node.payload.state is None
        if lacks_state:
            state = self.disk.state(node.key) if self.disk is not None else None
            if state is None:
                # Its descendants have states of their own; a missing one is not asked for again.
                return None
            self.tree.complete(node, state)
        while True:
            try:
                resumed = self._try_load(node, step)
            except (CheckpointError, EvaluationError, MemoryError) as error:
                # A refusal may only mean that other branches fill the context.
                if len(self.branches):
                    self.branches.drop_all()
                    continue
                self.tree.remove_subtree(node)
                notices.append(
                    f"a checkpoint of {node.stop:,} tokens could not be restored and was "
                    f"dropped ({error}); more is evaluated instead."
                )
                return None
            if lacks_state:
                resumed.tier = "disk"
            return resumed

    def _try_load(self, node: Node, step: Step) -> Resumed:
        path = node.path()
        known, base, shared = self._live_part(path)
        missing = path[known:]
        rows = any(each.payload.rows is not None for each in missing)
        branch = self._beginning(base, shared, state_follows=not rows)
        try:
            moved = self.payloads.put(
                branch.sequence, (each.payload for each in missing), node.payload
            )
            for each in missing:
                for loaded in each.steps:
                    branch.append(loaded)
            if step is not node.steps[-1]:
                if not self.context.cut(branch.sequence, step.next_position):
                    raise CheckpointError("the restored rows could not be cut.")
                branch.truncate(step.stop)
            if self.context.end(branch.sequence) < 0:
                raise CheckpointError("the restored sequence is empty.")
        except BaseException:
            self.branches.drop(branch)
            raise
        self.tree.touch(node)
        live = base is not None and not rows
        return Resumed(branch, tier="live" if live else "memory", n_bytes=moved)

    def _beginning(
        self, base: Branch | None, step: Step | None, *, state_follows: bool = False
    ) -> Branch:
        """A branch with the beginning of another, up to a step.

        Where only one may live it is that one, cut: a fork visits every cell. With
        `state_follows` a split state is put back next, which cuts off what is beyond it.
        """
        if base is None or step is None:
            return self.branches.fork(None, 0, 0)
        if self._n_sequences == 1:
            cut = self.can_cut and self.context.cut(base.sequence, step.next_position)
            if cut or (state_follows and self.layout is Layout.SPLIT):
                base.truncate(step.stop)
                self.branches.touch(base)
                return base
        return self.branches.fork(base, step.stop, step.next_position)

    def _live_part(self, path: list[Node]) -> tuple[int, Branch | None, Step | None]:
        """How many checkpoints of a path are live already, in which branch, up to which step."""
        if self.layout is Layout.WHOLE:
            return 0, None, None
        # What a window slid past is gone from a branch that went on, and a delta brings only the
        # rows of its own tokens.
        if self.layout is Layout.DELTA and self.context.model.n_swa:
            return 0, None, None
        # A delta brings rows and state in one blob, so the last one is always loaded.
        joined = self.layout is Layout.DELTA and not self.memory.can_be_cut
        for index in range(len(path) - joined, 0, -1):
            for branch in self.branches:
                step = branch.find(path[index - 1].key)
                if step is not None:
                    return index, branch, step
        return 0, None, None

    # Saving ---------------------------------------------------------------------------------

    def settle(self, branch: Branch) -> Payload | None:
        """At a boundary: bring a branch into the form a restore would give it (`Payloads.settle`).

        Raises
        ------
        EvaluationError
            It failed, and the branch is lost.
        """
        try:
            return self.payloads.settle(branch.sequence, branch.next_position)
        except (CheckpointError, MemoryError) as error:
            raise EvaluationError(
                f"the sliding window could not be put back into place: {error} The conversation "
                "is unchanged; run the cell again."
            ) from error

    def save(self, branch: Branch, settled: Payload | None = None, *, exact: bool = False) -> int:
        """Store a checkpoint at a branch's end, unless there is one; returns the bytes stored.

        `settled` is what `settle` just returned; only what is `exact` goes to disk.

        Raises
        ------
        CheckpointError
            There was no room, or llama.cpp did not write it. The branch is as it was.
        """
        end = branch.end
        if self.layout is Layout.NONE or end is None:
            return 0
        known = self.tree.at(end.key)
        if known is not None:
            self.tree.touch(known)
            if self.lookup.has_state(known):
                return 0
            state = self._end_state(branch, settled)
            self.tree.complete(known, state)
            if exact and self.disk is not None:
                self.disk.save_node(known)
            self.tree.evict()
            return state.nbytes
        disk = self.disk if exact else None
        if disk is None and end.key not in self.tree.pinned and not self._fits(branch):
            return 0
        index, parent = self._parent(branch)
        steps = tuple(branch.steps[index:])
        start = steps[0].position
        try:
            payload = self.payloads.take(branch.sequence, start, end.next_position, settled)
        except (MemoryError, EvaluationError) as error:
            raise CheckpointError(f"no checkpoint after {end.stop:,} tokens: {error}") from error
        if parent is not None or index == 0:
            node = Node(parent, steps, payload)
            self.tree.add(node)
            if disk is not None:
                disk.save_node(node)
            self.tree.evict()
        elif disk is not None:
            disk.save(end, payload, branch.steps[index - 1].key)
        kept = disk is not None or self.tree.at(end.key) is not None
        return payload.n_bytes if kept else 0

    def _fits(self, branch: Branch) -> bool:
        """Whether the budget could hold what a checkpoint at the end of a branch stands on.

        Otherwise it would be the first to go, at every boundary with all rows since the last one
        that was kept.
        """
        return self.context.state_size(branch.sequence) <= self.tree.budget

    def _end_state(self, branch: Branch, settled: Payload | None) -> Bytes:
        try:
            end = settled or self.payloads.take_end(branch.sequence, branch.next_position)
        except (MemoryError, EvaluationError) as error:
            raise CheckpointError(
                f"no state for the checkpoint after {branch.n_tokens:,} tokens: {error}"
            ) from error
        assert end.state is not None
        return end.state

    def _parent(self, branch: Branch) -> tuple[int, Node | None]:
        """Index of the first step a new checkpoint must hold, and the checkpoint it stands on.

        That one may be on disk only, when the conversation is larger than the memory budget: the
        new one then goes there, too, and nowhere else.
        """
        if self.layout is not Layout.WHOLE:
            for index in range(len(branch.steps) - 1, 0, -1):
                step = branch.steps[index - 1]
                node = self.tree.at(step.key)
                if node is not None:
                    return index, node
                if step.boundary is not None and self.lookup.stands_on_disk(step.key):
                    return index, None
        return 0, None

    def cut(self, sequence: int, position: int) -> bool:
        """Cut off what a branch has evaluated since its last step; False where that cannot be.

        Of a sliding window it can, as long as it still holds what is seen at `position`: the cells
        stay where they are, which a state put back would not let them.
        """
        if self.slides:
            whole = self.context.begin(sequence) <= max(0, position - self.context.model.n_swa)
            return whole and self.context.cut(sequence, position)
        return self.can_cut and self.context.cut(sequence, position)

    def undo(self, branch: Branch) -> None:
        """After a failure: take a branch back to the last step that is known to be whole.

        A memory that cannot be cut may be anywhere inside the step; the branch is given up then,
        and the stored checkpoint serves the next time. One that went with its context is gone.
        """
        if branch not in self.branches:
            return
        whole = self.can_cut and self.context.cut(branch.sequence, branch.next_position)
        if not whole:
            self.branches.drop(branch)
