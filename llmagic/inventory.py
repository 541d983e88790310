"""Where the bytes are: of one turn, and of a whole session."""

from __future__ import annotations

from typing import Any

from llmagic.checkpoint.checkpoints import Checkpoints
from llmagic.engine.engine import Engine
from llmagic.sequence import Boundary, Sequence, Text
from llmagic.store import Kind, Store
from llmagic.turns import Turn


def of_turn(
    turn: Turn, before: Sequence, next_one: Sequence, checkpoints: Checkpoints, store: Store | None
) -> dict[str, Any]:
    """Where the state of a turn is (tokens, bytes), and what the next question would restore.

    Parameters
    ----------
    turn : Turn
    before : Sequence
        Everything before its reply.
    next_one : Sequence
        Any question that follows it.
    checkpoints : Checkpoints
    store : Store or None
    """
    reply = Text(turn.tokens, reply=True, boundary=Boundary.REPLY)
    replies = [step.stop for step in before.steps if step.boundary is Boundary.REPLY]
    start = max(replies, default=0)
    steps = tuple(step for step in before.extended([reply]).steps if step.start >= start)
    nodes = [checkpoints.tree.at(step.key) for step in steps]
    headers = [
        store.header(kind, step.key)
        for step in steps
        for kind in (Kind.CHECKPOINT, Kind.STATE)
        if store is not None and step.boundary is not None
    ]
    branches = list(checkpoints.branches)
    restored, tier = checkpoints.nearest(next_one)
    return {
        "tokens": sum(step.n_tokens for step in steps),
        "live": sum(
            step.n_tokens for step in steps if any(branch.find(step.key) for branch in branches)
        ),
        "memory": sum(node.payload.n_bytes for node in nodes if node is not None),
        "disk": sum(header.n_bytes for header in headers if header is not None),
        "total": before.n_tokens + len(turn.tokens),
        "restored": restored,
        "tier": tier,
    }


def of_session(engine: Engine, store: Store | None) -> dict[str, Any]:
    """What is loaded, how it is checkpointed, and what is kept where (tokens, bytes)."""
    checkpoints, projector = engine.checkpoints, engine.projector
    branches = list(checkpoints.branches)
    return {
        "model": engine.model.name,
        "path": str(engine.model.header.path),
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
