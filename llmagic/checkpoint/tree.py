"""Checkpoints in memory: a tree by content, within a budget of bytes."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from llmagic.checkpoint.payload import Payload
from llmagic.model.context import Bytes
from llmagic.sequence import Step


@dataclass(eq=False)
class Node:
    """One checkpoint: the steps since its parent, and the bytes that restore them.

    `used` is a counter, not a time: two checkpoints of one cell must differ. It says when the
    checkpoint itself was used; those it stands on were used as late.
    """

    parent: Node | None
    steps: tuple[Step, ...]
    payload: Payload
    used: int = 0
    children: int = field(default=0)

    @property
    def key(self) -> bytes:
        return self.steps[-1].key

    @property
    def content(self) -> bytes:
        return self.steps[-1].content

    @property
    def stop(self) -> int:
        """Tokens from the beginning to its end."""
        return self.steps[-1].stop

    def path(self) -> list[Node]:
        """Its ancestors from the first on, and itself."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]


class Tree:
    """Every checkpoint in memory, found by key, by content, or by a place inside it.

    Parameters
    ----------
    budget : int
        Bytes. The least recently used go first: leaves whole, and of a checkpoint that others
        stand on its state alone, since they need its rows and not its state.

    Attributes
    ----------
    pinned : frozenset of bytes
        Keys of checkpoints that stay, even over the budget.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.pinned: frozenset[bytes] = frozenset()
        self.n_bytes = 0
        self._clock = 0
        self._nodes: dict[bytes, Node] = {}
        # Several checkpoints may hold a place: two texts that begin alike, one evaluated twice.
        self._places: defaultdict[bytes, list[Node]] = defaultdict(list)
        self._contents: defaultdict[bytes, list[Node]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def at(self, key: bytes) -> Node | None:
        """The checkpoint that ends with this step, evaluated like this."""
        return self._nodes.get(key)

    def around(self, digest: bytes) -> Node | None:
        """A checkpoint in which, or at whose end, a step of this key or content ends."""
        return next(iter(self._places.get(digest, ())), None)

    def with_content(self, content: bytes) -> list[Node]:
        """The checkpoints of this content, however they were evaluated."""
        return list(self._contents.get(content, ()))

    def add(self, node: Node) -> None:
        """Keep a checkpoint; its parent must be here. The budget is enforced by `evict`."""
        self._nodes[node.key] = node
        for index, digest in self._entries(node):
            index[digest].append(node)
        if node.parent is not None:
            node.parent.children += 1
        self.n_bytes += node.payload.n_bytes
        self.touch(node)

    def _entries(self, node: Node) -> Iterator[tuple[defaultdict[bytes, list[Node]], bytes]]:
        """Where a checkpoint is listed besides its key."""
        yield self._contents, node.content
        for step in node.steps:
            yield self._places, step.key
            yield self._places, step.content

    def complete(self, node: Node, state: Bytes) -> None:
        """Give a checkpoint whose rows alone were loaded its state."""
        node.payload = replace(node.payload, state=state)
        if node.key in self._nodes:
            self.n_bytes += state.nbytes

    def touch(self, node: Node) -> None:
        """Mark a checkpoint, and with it its ancestors, as used now."""
        self._clock += 1
        node.used = self._clock

    def remove(self, node: Node) -> None:
        """Drop a leaf."""
        del self._nodes[node.key]
        for index, digest in self._entries(node):
            index[digest].remove(node)
            if not index[digest]:
                del index[digest]
        if node.parent is not None:
            node.parent.children -= 1
            node.parent.used = max(node.parent.used, node.used)
        self.n_bytes -= node.payload.n_bytes

    def remove_subtree(self, node: Node) -> None:
        """Drop a checkpoint and all that stand on it."""
        doomed = [each for each in self if node in each.path()]
        for each in sorted(doomed, key=lambda each: -each.stop):
            self.remove(each)

    def evict(self) -> None:
        """Drop what was used least recently until the budget holds."""
        if self.n_bytes <= self.budget:
            return
        # What others stand on was used as late as they were.
        for node in sorted(self._nodes.values(), key=lambda node: -node.stop):
            if node.parent is not None:
                node.parent.used = max(node.parent.used, node.used)
        # Of a path, whose parts were used together, the beginning goes first: states are dropped
        # from there, and the end, which the next cell continues, is kept longest.
        victims = [
            (node.used, node.stop, node.key)
            for node in self._nodes.values()
            if node.children == 0 or node.payload.state is not None
        ]
        heapq.heapify(victims)
        while self.n_bytes > self.budget and victims:
            victim = self._nodes[heapq.heappop(victims)[2]]
            if victim.key in self.pinned:
                continue
            if victim.children:
                assert victim.payload.state is not None
                self.n_bytes -= victim.payload.state.nbytes
                victim.payload = replace(victim.payload, state=None)
                continue
            self.remove(victim)
            parent = victim.parent
            if parent is not None and parent.children == 0 and parent.payload.state is None:
                heapq.heappush(victims, (parent.used, parent.stop, parent.key))

    def clear(self) -> None:
        """Drop everything."""
        self._nodes.clear()
        self._places.clear()
        self._contents.clear()
        self.n_bytes = 0
