"""A wrong state shows in the demo model's answers, so a notebook that checks them would notice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from llmagic.checkpoint.payload import Payload
from llmagic.checkpoint.tree import Node
from llmagic.demo.evaluate import MOST_TOKENS, dialogues, questions
from llmagic.session import Session, Turn
from tests import oracle

ABOUT_BEFORE = {"recall", "which", "none", "told"}
"""Tasks whose answer is in an earlier turn."""

N_ANSWERS = 30


def node_of(session: Session, turn: Turn) -> Node:
    """The checkpoint at the end of a turn."""
    key = oracle.sequence_of(session, turn).steps[-1].key
    node = session.engine.checkpoints.tree.at(key)
    assert node is not None
    return node


@contextmanager
def restoring(session: Session, node: Node) -> Iterator[list[int]]:
    """Whatever is looked up, the state of `node` is put into the context."""
    payloads = session.engine.checkpoints.payloads
    put = payloads.put
    calls = []

    def put_another(sequence: int, _: Iterable[Payload], state: Payload | None) -> int:
        calls.append(sequence)
        return put(sequence, [each.payload for each in node.path()], node.payload)

    tree = session.engine.checkpoints.tree
    before = set(tree)
    session.engine.checkpoints.branches.drop_all()
    payloads.put = put_another  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        del payloads.put  # type: ignore[method-assign]
        # What was saved on top of the wrong state stands under the names of the right one.
        for each in sorted(set(tree) - before, key=lambda each: -each.stop):
            tree.remove(each)
        session.engine.checkpoints.branches.drop_all()


def greedy(session: Session, parts: Any, after: Turn | None, system: str | None) -> Turn:
    return session.ask(parts, after=after, system=system, temperature=0, max_tokens=MOST_TOKENS)


def wrong_answers(session: Session, which: str) -> tuple[int, int]:
    """Questions about earlier turns, and how many of their answers a wrong state changes."""
    asked = changed = 0
    others: list[Node] = []
    for dialogue in dialogues():
        turns: list[Turn] = []
        for task, parts, _, system in questions(dialogue):
            after = turns[-1] if turns else None
            wrong: str | None = None
            if task in ABOUT_BEFORE and len(turns) >= 3:
                right_node = node_of(session, turns[-1])
                # A shorter one: llama.cpp takes no token whose position is in the context.
                short = [node for node in others if ends(node) <= ends(right_node)]
                node = node_of(session, turns[0]) if which == "earlier" else (short or [None])[-1]
                if node is not None:
                    with restoring(session, node) as calls:
                        wrong = greedy(session, parts, after, system).text
                    assert calls, "nothing was restored"
            turns.append(greedy(session, parts, after, system))
            if wrong is not None:
                asked += 1
                changed += wrong != turns[-1].text
        others.append(node_of(session, turns[-1]))
        if asked >= N_ANSWERS:
            break
    return asked, changed


def ends(node: Node) -> int:
    return node.payload.stop


@pytest.fixture(autouse=True)
def _nothing_kept(demo: Session) -> None:
    """Checkpoints of the same questions in another test would be resumed behind the question."""
    demo.engine.checkpoints.branches.drop_all()
    demo.engine.checkpoints.tree.clear()


@pytest.mark.parametrize("which", ["another dialogue", "earlier"])
def test_a_wrong_restore_shows_in_half_of_the_answers(demo: Session, which: str) -> None:
    asked, changed = wrong_answers(demo, which)
    assert asked >= N_ANSWERS
    assert changed >= asked / 2


def test_a_right_restore_changes_none(demo: Session) -> None:
    checked = 0
    for dialogue in dialogues()[:4]:
        turns: list[Turn] = []
        for _, parts, _, system in questions(dialogue):
            after = turns[-1] if turns else None
            if after is not None:
                with restoring(demo, node_of(demo, after)) as calls:
                    restored = greedy(demo, parts, after, system).text
                assert calls
            turns.append(greedy(demo, parts, after, system))
            if after is not None:
                assert restored == turns[-1].text
                checked += 1
    assert checked > 20
