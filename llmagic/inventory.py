"""Where the bytes are: of one turn, and of a whole session."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

from llmagic.chat import Chat
from llmagic.checkpoint.live import Branch
from llmagic.checkpoint.tree import Node
from llmagic.engine.engine import Engine
from llmagic.errors import ModelError, PromptError
from llmagic.prompt.parts import TextPart
from llmagic.sequence import Boundary, Sequence, Step, Text
from llmagic.store import Kind, Store
from llmagic.turns import Turn

MOST = 4096
"""Turns whose steps are remembered, so that they are not rendered and tokenised each time."""


class Kept:
    """The checkpoints of turns in every tier.

    Parameters
    ----------
    engine : Engine
    store : Store or None
    chat : Chat
        How turns become sequences.
    """

    def __init__(self, engine: Engine, store: Store | None, chat: Chat) -> None:
        self._engine = engine
        self._store = store
        self._chat = chat
        # By all it stands on as well: one is shown in another place than it was drawn in.
        self._steps: OrderedDict[tuple[str | None, ...], tuple[Step, ...]] = OrderedDict()
        self._sizes: dict[tuple[Kind, bytes], int] = {}

    def of(self, turn: Turn) -> dict[str, int]:
        """Tokens of a turn with its reply, `live` of them; bytes in `memory` and on `disk`.

        Empty where this model cannot take the turn.
        """
        steps = self._own(turn)
        if not steps:
            return {}
        nodes = [next(iter(self._nodes(step)), None) for step in steps]
        return {
            "tokens": sum(step.n_tokens for step in steps),
            "live": sum(step.n_tokens for step in steps if self._branches(step)),
            "memory": sum(node.payload.n_bytes for node in nodes if node is not None),
            "disk": sum(map(self._on_disk, steps)),
        }

    def for_next(self, turn: Turn) -> dict[str, Any]:
        """Of `total` tokens up to a turn's end those that a question after it finds, and where."""
        question = replace(turn.question, parent=turn, parts=(TextPart("?"),))
        restored, tier = self._engine.checkpoints.nearest(self._chat.wanted(question))
        total = self._before(turn).n_tokens + len(turn.tokens)
        return {"total": total, "restored": restored, "tier": tier}

    def pin(self, turn: Turn, pinned: bool) -> None:
        """Keep the checkpoints of a turn in memory whatever the budget, or no longer."""
        ends = [step for step in self._own(turn) if step.boundary is not None]
        keys = {step.key for step in ends}
        keys |= {node.key for step in ends for node in self._nodes(step)}
        tree = self._engine.checkpoints.tree
        tree.pinned = tree.pinned | keys if pinned else tree.pinned - keys

    def forget(self, turn: Turn) -> int:
        """Drop the checkpoints of a turn; returns the bytes that became free on disk.

        What other turns stand on stays: the rows of a turn in the middle of a conversation.
        """
        steps = self._own(turn)
        self.pin(turn, pinned=False)
        checkpoints = self._engine.checkpoints
        for step in reversed(steps):
            for branch in self._branches(step):
                checkpoints.branches.drop(branch)
            for node in self._nodes(step):
                if node.children == 0:
                    checkpoints.tree.remove(node)
        return self._forget_files(steps)

    # What was evaluated in other pieces says the same, and is restored as well.

    def _nodes(self, step: Step) -> list[Node]:
        """The checkpoints in memory that end with a step, as it is evaluated from nothing first."""
        tree = self._engine.checkpoints.tree
        return sorted(tree.with_content(step.content), key=lambda node: node.key != step.key)

    def _branches(self, step: Step) -> list[Branch]:
        """The live branches that hold what a step ends with."""
        return [each for each in self._engine.checkpoints.branches if each.find(step.content)]

    def _forget_files(self, steps: tuple[Step, ...]) -> int:
        if self._store is None:
            return 0
        self._store.flush(5.0)  # or what becomes free is not counted; it is removed all the same
        parents = self._store.parents()
        free = 0
        for step in reversed(steps):
            if step.key in parents.values():
                continue
            for kind in (Kind.STATE, Kind.CHECKPOINT):
                header = self._store.header(kind, step.key)
                # Without one it may still wait to be written.
                if self._store.remove(kind, step.key) and header is not None:
                    free += header.n_bytes
            parents.pop(step.key, None)
        self._sizes.clear()
        return free

    def _before(self, turn: Turn) -> Sequence:
        """What the reply of a turn continued."""
        return self._chat.wanted(turn.question, turn.rounds)

    def _own(self, turn: Turn) -> tuple[Step, ...]:
        """How a turn is evaluated: what follows the reply above it.

        Empty where this model cannot take it: without a projector for its pictures, or with a
        template that refuses it.
        """
        place = (turn.system, *(each.id for each in turn.path()))
        steps = self._steps.get(place)
        if steps is None:
            try:
                before = self._before(turn)
            except (PromptError, ModelError):
                return ()
            reply = Text(turn.tokens, reply=True, boundary=Boundary.REPLY)
            # Replies that called tools are the turn's own.
            asked = self._chat.wanted(turn.question) if turn.rounds else before
            replies = [step.stop for step in asked.steps if step.boundary is Boundary.REPLY]
            start = max(replies, default=0)
            every = before.extended([reply]).steps
            steps = tuple(step.bare() for step in every if step.start >= start)
            self._steps[place] = steps
            while len(self._steps) > MOST:
                self._steps.popitem(last=False)
        else:
            self._steps.move_to_end(place)
        return steps

    def _on_disk(self, step: Step) -> int:
        """Bytes of the files at the end of a step; a file's size is read once."""
        if self._store is None or step.boundary is None:
            return 0
        total = 0
        for kind in (Kind.CHECKPOINT, Kind.STATE):
            if not self._store.has(kind, step.key):
                continue
            size = self._sizes.get((kind, step.key))
            if size is None:
                header = self._store.header(kind, step.key)
                size = header.n_bytes if header is not None else 0
                self._sizes[kind, step.key] = size
            total += size
        return total


def of_session(engine: Engine, store: Store | None) -> dict[str, Any]:
    """What is loaded, how it is checkpointed, and what is kept where (tokens, bytes)."""
    checkpoints, projector = engine.checkpoints, engine.projector
    branches = list(checkpoints.branches)
    return {
        "model": engine.model.name,
        "path": str(engine.model.header.path),
        **_about(engine),
        "architecture": engine.model.header.architecture,
        "memory": engine.model.memory.value,
        "layout": engine.verdict.layout.value,
        "exact": engine.verdict.exact,
        "projector": projector.name if projector is not None else None,
        "kv_type": engine.loading.kv_type,
        "context": {
            "tokens": engine.n_ctx,
            "limit": engine.n_ctx_limit,
            "used": max((branch.n_tokens for branch in branches), default=0),
        },
        "live": {"branches": len(branches), "most": engine.n_branches},
        "checkpoints": {
            "count": len(checkpoints.tree),
            "bytes": checkpoints.tree.n_bytes,
            "budget": checkpoints.tree.budget,
        },
        "store": None if store is None else _of_store(store),
        "images": {
            "count": projector.n_cached if projector is not None else 0,
            "bytes": projector.cached_bytes if projector is not None else 0,
            "budget": engine.loading.image_budget,
        },
    }


def _of_store(store: Store) -> dict[str, Any]:
    used = store.usage().values()
    return {
        "path": str(store.path),
        "files": sum(each.files for each in used),
        "bytes": sum(each.n_bytes for each in used),
        "budget": store.budget,
    }


def _about(engine: Engine) -> dict[str, Any]:
    """What the model's file says about it, and the size of its files."""
    headers = [part.header for part in (engine.model, engine.projector) if part is not None]
    said = {name: headers[0].metadata.get(f"general.{name}") for name in ("license", "description")}
    size = {"bytes": sum(header.total_bytes for header in headers)}
    return {"size": size, **{name: str(value) for name, value in said.items() if value}}
