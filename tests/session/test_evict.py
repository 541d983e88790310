"""Little memory costs tokens, never the right answer; and usage says what it cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llmagic.checkpoint.payload import Payload, Payloads
from llmagic.session import Session, Turn
from tests import oracle
from tests.session.cells import Cold, Costs, Notebook, cells
from tests.session.conftest import Opens
from tests.toys import Toy

NOISE = 3e-3
"""What cutting the same tokens elsewhere moves logits by, of their range (measured)."""


def check_close(session: Session, turn: Turn, cold: Cold) -> None:
    """Logits after a turn are within `NOISE` of those from nothing."""
    wanted = cold.logits(session, oracle.sequence_of(session, turn))
    moved = float(np.abs(oracle.warm_logits(session) - wanted).max())
    assert moved <= NOISE * float(np.ptp(wanted))


class Honest(Notebook):
    """A notebook that checks each turn's usage and logits against what really happened."""

    def __init__(self, session: Session, costs: Costs, cold: Cold) -> None:
        super().__init__(session, cold=cold, temperature=1.0)
        self.costs = costs
        self.exact: list[bool] = []

    def check(self, turn: Turn) -> None:
        usage = turn.usage
        drawn = usage["generated"]["tokens"]
        tokens, images, encoded = self.costs.taken()
        assert usage["evaluated"]["tokens"] == tokens - drawn
        assert usage["evaluated"]["images"] == images
        assert usage["encoded"]["images"] == encoded
        prompt, restored = usage["prompt"], usage["restored"]
        assert prompt["tokens"] == restored["tokens"] + usage["evaluated"]["tokens"]
        assert prompt["images"] == restored["images"] + images
        assert prompt["tokens"] == oracle.sequence_of(self.session, turn, with_reply=False).n_tokens
        tree = self.session.engine.checkpoints.tree
        assert tree.n_bytes == sum(node.payload.n_bytes for node in tree) <= tree.budget
        assert all(node.parent is None or node.parent in set(tree) for node in tree)
        self.exact.append(usage["exact"])
        if usage["exact"]:
            self.assert_exact(turn)
        else:
            check_close(self.session, turn, self.cold)
        self.costs.taken()


def one_checkpoint(session: Session) -> int:
    """Bytes of the largest checkpoint after one question."""
    session.ask("Hello there.", after=None, max_tokens=3)
    return max(node.payload.n_bytes for node in session.engine.checkpoints.tree)


@pytest.mark.parametrize("room", [0, 1, 99])
def test_any_budget(
    toy: Toy, open_session: Opens, cold: Cold, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    budget = room * 3 * one_checkpoint(open_session(toy))
    session = open_session(toy, memory_budget=budget)
    notebook = Honest(session, Costs(monkeypatch, session), cold)
    sources = cells(toy)[:4]
    for index, cell in enumerate(sources):
        notebook.check(notebook.run(index, cell))
    # Appending needs no checkpoint: the branch is in the context.
    assert all(notebook.exact)
    assert all(turn.usage["restored"]["tier"] == "live" for turn in notebook.turns[1:])
    first_run = list(notebook.turns)
    for index in (3, 1, 3, 0, 2, 3):
        after = first_run[index - 1] if index else None
        notebook.check(notebook.ask(after, sources[index], seed=index))
    edited = replace(sources[2], after=" Other words.")
    notebook.check(notebook.run(2, edited))
    notebook.check(notebook.run(3, sources[3]))
    notebook.check(notebook.run(2, sources[2]))
    notebook.check(notebook.ask(None, "Something else."))
    notebook.check(notebook.run(3, sources[3]))
    # Where replies had to be evaluated again, that was said.
    assert all(notebook.exact) == (room > 4)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_what_cannot_be_kept_is_not_copied(
    toy: Toy, open_session: Opens, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """Or every boundary copies all rows since the last checkpoint that was kept."""
    whole = Notebook(open_session(toy))
    sources = cells(toy) * 3
    for index, cell in enumerate(sources):
        whole.run(index, cell)
    budget = int(share * whole.session.engine.checkpoints.tree.n_bytes)
    session = open_session(toy, memory_budget=budget)
    copied: list[int] = []
    take = Payloads.take

    def counting(*arguments: Any) -> Payload:
        copied.append((payload := take(*arguments)).n_bytes)
        return payload

    monkeypatch.setattr(Payloads, "take", counting)
    notebook = Notebook(session)
    for index, cell in enumerate(sources):
        notebook.run(index, cell)
    saved = sum(turn.usage["saved"]["bytes"] for turn in notebook.turns)
    assert bool(copied) == (share > 0)
    assert max(copied, default=0) <= budget
    # How large the state of a window is going to be is not known before.
    assert sum(copied) == saved or session.engine.checkpoints.slides


def test_without_memory_a_reply_is_evaluated_in_chunks_and_that_is_said(
    toy: Toy, open_session: Opens
) -> None:
    session = open_session(toy, memory_budget=0)
    notebook = Notebook(session)
    for index in range(3):
        assert notebook.run(index, f"Question {index}.").usage["exact"] is True
    # Another conversation takes the place in the context.
    assert notebook.ask(None, "Something else.").usage["exact"] is True
    turn = notebook.ask(notebook.turns[2], "And?")
    restored, evaluated = turn.usage["restored"], turn.usage["evaluated"]
    assert restored == {"tokens": 0, "images": 0, "tier": "none", "ms": restored["ms"], "bytes": 0}
    assert evaluated["tokens"] == turn.usage["prompt"]["tokens"]
    assert turn.usage["exact"] is False
    check_close(session, turn, Cold())
    # What stands on it is no better, even where it comes from the context ...
    further = notebook.ask(turn, "And then?")
    assert further.usage["restored"]["tier"] == "live"
    assert further.usage["exact"] is False
    # ... but a conversation without replies above it is.
    assert notebook.ask(None, "Something else.").usage["exact"] is True


def test_another_reply_above_makes_those_below_inexact_until_it_is_taken_back(
    toy: Toy, session: Session, cold: Cold
) -> None:
    notebook = Notebook(session, cold=cold)
    for index in range(3):
        notebook.run(index, f"Question {index}.")
    before = list(notebook.turns)
    notebook.run(1, "Question 1.", temperature=1.0, seed=3)
    assert notebook.turns[1].tokens != before[1].tokens
    # The reply of cell 2 was generated after another text: now it is evaluated in chunks.
    turn = notebook.ask(notebook.turns[2], "And?")
    assert turn.usage["exact"] is False
    check_close(session, turn, cold)
    again = notebook.ask(notebook.turns[2], "And?")
    assert again.usage["exact"] is False
    assert again == turn
    notebook.assert_exact(notebook.ask(before[2], "And?"))
    notebook.assert_exact(notebook.run(2, "Question 2."))
    notebook.assert_exact(notebook.ask(notebook.turns[2], "And now?"))


def test_the_least_recently_used_leaf_goes_first(toy: Toy, open_session: Opens) -> None:
    session = open_session(toy)
    tree = session.engine.checkpoints.tree
    first = session.ask("One.", max_tokens=3)
    other = session.ask("Two.", after=None, max_tokens=3)
    session.ask("One more.", after=first, max_tokens=3)
    # Just too little for all: what `other` added is the oldest leaf.
    tree.budget = tree.n_bytes
    lost: set[bytes] = set()
    for index in range(50):
        keys = {node.key for node in tree}
        session.ask(f"And {index}.", after=first, max_tokens=3)
        lost = keys - {node.key for node in tree}
        if lost:
            break
    reply = oracle.sequence_of(session, other).steps[-1].key
    assert reply in lost
    assert oracle.sequence_of(session, first).steps[-1].key not in lost
    turn = session.ask("Back.", after=first, max_tokens=3)
    assert turn.usage["exact"] is True
    assert turn.usage["restored"]["tokens"] >= oracle.sequence_of(session, first).n_tokens
    assert tree.n_bytes <= tree.budget
