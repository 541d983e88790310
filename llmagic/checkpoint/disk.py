"""The third tier: checkpoints as files, one each, found by name."""

from __future__ import annotations

from collections.abc import Sequence

from llmagic.checkpoint.payload import Layout, Payload
from llmagic.checkpoint.tree import Node, Tree
from llmagic.model.context import Bytes
from llmagic.sequence import Step
from llmagic.store import Kind, New, Store

MOST_WAITING = 256 << 20
LEAST_WAITING = 16 << 20


def waiting(memory_budget: int) -> int:
    """The part (bytes) of a memory budget that is kept for what waits to be written."""
    return min(memory_budget // 8, MOST_WAITING)


def queue(memory_budget: int) -> int:
    """Bytes that may wait: that part, but enough for a cell where the budget is tiny."""
    return max(waiting(memory_budget), LEAST_WAITING)


class DiskTier:
    """Checkpoints of one model in a store.

    Rows and state are two files, since a chain needs the rows of all and the state of the last.
    There is no index: a checkpoint's name is the key of its last step, so the wanted sequence
    says which files to look for. Only checkpoints that are exact are written, since nobody would
    look for another.

    Parameters
    ----------
    store : Store
    layout : Layout
        A file in another layout is a miss.
    model : str
        Name of the model, for people who look into the store.
    needs_state : bool
        Whether a checkpoint of this model has a state beside its rows.

    Attributes
    ----------
    labels : dict of str to str
        Written into every file, for people who look into the store: "model", "notebook".
    """

    def __init__(self, store: Store, layout: Layout, model: str, *, needs_state: bool) -> None:
        self._store = store
        self._needs_state = needs_state
        self._layout = layout
        self.labels = {"model": model}
        # Keys of checkpoints that the store has not written yet.
        self._waiting: set[bytes] = set()
        # Keys of those that stand on one that is gone, each with the key of that.
        self._broken: dict[bytes, bytes] = {}

    def save(self, last: Step, payload: Payload, parent: bytes | None) -> bool:
        """Write the checkpoint that ends with step `last` behind the cell's back.

        False when the store refused it at once.
        """
        # One that is there already is left alone, and counts as used.
        self._waiting.add(last.key)
        if last.key in self._broken.values():
            self._broken = {key: gone for key, gone in self._broken.items() if gone != last.key}
        entries = [
            New(
                Kind.CHECKPOINT,
                last.key,
                arrays={} if payload.rows is None else {"rows": payload.rows},
                meta={
                    "layout": self._layout.value,
                    "start": str(payload.start),
                    "stop": str(payload.stop),
                    "tokens": str(last.stop),
                    "boundary": str(last.boundary or ""),
                    **self.labels,
                },
                parent=parent,
                done=lambda _: self._waiting.discard(last.key),
            )
        ]
        if payload.state is not None:
            entries.append(
                New(
                    Kind.STATE,
                    last.key,
                    arrays={"state": payload.state},
                    meta={"layout": self._layout.value, **self.labels},
                )
            )
        # A state may be larger than the store's queue, and its rows are of no use without it.
        return self._store.put_together(entries)

    def save_node(self, node: Node) -> None:
        """Write a checkpoint, and those of its ancestors that are not there (any more)."""
        if not self._store.writes:
            return
        missing, each = [node], node.parent
        # What is there stands on what is there: the store drops the end of a chain first.
        while each is not None and (each.key in self._waiting or not self.has_rows(each.key)):
            if each.key not in self._waiting:
                missing.append(each)
            each = each.parent
        for each in reversed(missing):
            above = each.parent.key if each.parent is not None else None
            if not self.save(each.steps[-1], each.payload, above):
                break  # nor would those be written that stand on it

    def touch(self, steps: Sequence[Step]) -> None:
        """Mark the checkpoints at these steps as used; what they stand on outlives them anyway."""
        for step in reversed(steps):
            if step.boundary is not None:
                if not self._store.touch(Kind.CHECKPOINT, step.key):
                    break  # a moment ago, and all before it
                self._store.touch(Kind.STATE, step.key)

    def has_rows(self, key: bytes) -> bool:
        """Whether there is a checkpoint others can stand on."""
        return key not in self._broken and self._store.has(Kind.CHECKPOINT, key)

    def has(self, key: bytes) -> bool:
        """Whether one could resume at this key (its files may still turn out to be damaged)."""
        return self.has_rows(key) and (not self._needs_state or self.has_state(key))

    def has_state(self, key: bytes) -> bool:
        """Whether there is a state for this key."""
        return self._store.has(Kind.STATE, key)

    def state(self, key: bytes) -> Bytes | None:
        """The state at the end of a checkpoint; None when it is missing or damaged."""
        entry = self._store.get(Kind.STATE, key)
        if entry is None or entry.meta.get("layout") != self._layout.value:
            return None
        return entry.arrays.get("state")

    def fetch(self, steps: Sequence[Step], index: int, tree: Tree) -> Node | None:
        """Bring the checkpoint at the end of `steps[index]` into the tree, with what it needs.

        States stay on disk until one resumes there: of a whole chain only the last is needed.

        Returns None, and leaves the tree as it was but for whole ancestors, when a file of the
        chain is missing or damaged; nothing below that one is looked for again until it is saved.
        """
        places = {step.key: at for at, step in enumerate(steps[: index + 1])}
        missing: list[int] = []
        parent: Node | None = None
        at: int | None = index
        while at is not None:
            parent = tree.at(steps[at].key)
            if parent is not None:
                break
            missing.append(at)
            meta = self._store.meta(Kind.CHECKPOINT, steps[at].key)
            name = "" if meta is None else meta.get("parent", "")
            above = bytes.fromhex(name) if name else None
            if meta is None or (above is not None and above not in places):
                gone = steps[at].key if meta is None or above is None else above
                self._broken |= {steps[each].key: gone for each in missing}
                return None
            at = None if above is None else places[above]
        begin = places[parent.key] + 1 if parent is not None else 0
        for at in reversed(missing):
            payload = self._read(steps[at], steps[begin].position)
            if payload is None:
                gone = steps[at].key
                self._broken |= {steps[each].key: gone for each in missing if each >= at}
                return None
            parent = Node(parent, tuple(step.bare() for step in steps[begin : at + 1]), payload)
            tree.add(parent)
            begin = at + 1
        return parent

    def _read(self, step: Step, start: int) -> Payload | None:
        entry = self._store.get(Kind.CHECKPOINT, step.key)
        if entry is None:
            return None
        meta = entry.meta
        if self._layout is Layout.WHOLE:
            start = 0
        # A hash finds, a comparison decides.
        wanted = {
            "layout": self._layout.value,
            "start": str(start),
            "stop": str(step.next_position),
            "tokens": str(step.stop),
        }
        if any(meta.get(name) != value for name, value in wanted.items()):
            return None
        return Payload(start, step.next_position, entry.arrays.get("rows"), None)
