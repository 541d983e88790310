"""What went wrong in llama-server's context checkpoints, without images.

Every test is named after the issue or pull request in ggml-org/llama.cpp. Their common cause:
checkpoints are found there by position, and positions say nothing about content.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from llmagic.engine.engine import Outcome
from llmagic.model.library import llama
from llmagic.sequence import Boundary, Sequence
from llmagic.session import Session
from llmagic.settings import Sampling
from tests.oracle import sequence_of
from tests.regressions.checks import (
    LONG,
    Opens,
    ask,
    assert_nearly_right,
    assert_right,
    assert_stored_right,
    cold,
    end,
    evaluated,
    forget_live,
    noise,
    prompt,
    restored,
    stops,
)
from tests.toys import Toy
from tests.toys.text import WINDOW

SYSTEM = "You are a helpful assistant."


def test_issue_20532_checkpoint_of_another_branch(session: Session, stored: bool) -> None:
    """A checkpoint made in one branch was restored in another that was as long."""
    root = ask(session, "Remember my name.", after=None, system=SYSTEM)
    branches = [ask(session, f"Word {letter}, then?", after=root) for letter in "ABC"]
    assert len({end(turn) for turn in branches}) == 1
    for index, turn in enumerate((*branches, *reversed(branches), *branches)):
        if stored:
            forget_live(session)
        after = ask(session, f"{index}: what was the word?", after=turn)
        assert restored(after) == end(turn)
        assert_right(session, after)
    seen = set()
    for turn in branches:
        ask(session, "What was the word?", after=turn)
        seen.add(session.engine.context.logits().tobytes())
    assert len(seen) == 3, "the toy cannot tell the branches apart"


def test_issue_20532_conversations_of_equal_length(session: Session, stored: bool) -> None:
    """The same, where not even the beginning is shared but for the words around."""
    turns = [ask(session, f"Word {letter}. {LONG}", after=None) for letter in "ABC"]
    assert len({end(turn) for turn in turns}) == 1
    for index, turn in enumerate((*turns, *turns)):
        if stored:
            forget_live(session)
        after = ask(session, f"{index}: and then?", after=turn)
        assert restored(after) == end(turn)
        assert_right(session, after)


def test_issue_19849_checkpoint_further_along_than_the_prompt(
    session: Session, stored: bool
) -> None:
    """A first question asked again was answered from a checkpoint of a later turn (24411)."""
    first = ask(session, "Remember the word blue.", after=None, system=SYSTEM)
    second = ask(session, LONG)
    third = ask(session, "Which one was it?")
    assert end(second) - end(first) > WINDOW

    def again(*words: str, **settings: object) -> int:
        if stored:
            forget_live(session)
        turn = ask(session, *words, **settings)
        assert_right(session, turn)
        return restored(turn)

    shorter = again("Remember the word blue.", after=None, system=SYSTEM)
    assert shorter == stops(session, first, Boundary.USER)[-1]
    assert again(LONG, after=first) == stops(session, second, Boundary.USER)[-1]
    other = again("Remember the word green.", after=None, system=SYSTEM)
    assert other == stops(session, first, Boundary.SYSTEM)[-1]
    assert again("Which?", after=None) == 0
    assert again("And that?", after=third) == end(third)
    assert_stored_right(session)


def test_issue_21510_window_that_reaches_the_beginning(
    session: Session, toy: Toy, stored: bool
) -> None:
    """A checkpoint whose window begins at position 0 was refused, and all was evaluated again."""
    first = ask(session, "Remember the word blue.", after=None)
    if stored:
        forget_live(session)
    second = ask(session, "Which word?")
    assert restored(second) == end(first)
    assert_right(session, second)
    if toy.memory == "swa":
        assert end(second) < WINDOW
        context = session.engine.context
        (branch,) = session.engine.checkpoints.branches
        assert llama.llama_memory_seq_pos_min(context._memory, branch.sequence) == 0


def test_issue_24110_full_hit_leaves_a_token(session: Session, stored: bool) -> None:
    """With the whole prompt known nothing was left to evaluate, and so there were no logits."""
    first = ask(session, "Remember the word blue.", LONG, after=None, system=SYSTEM)
    for _ in range(3):
        if stored:
            forget_live(session)
        again = ask(session, "Remember the word blue.", LONG, after=None, system=SYSTEM)
        assert_right(session, again)
        assert again.tokens == first.tokens
        assert restored(again) == stops(session, first, Boundary.USER)[-1]
        assert evaluated(again) == prompt(first) - restored(again) > 0


def test_issue_24110_full_hit_at_every_checkpoint(session: Session, stored: bool) -> None:
    """The same, with a prompt that ends just where a checkpoint does."""
    ask(session, "Remember the word blue.", after=None, system=SYSTEM)
    last = ask(session, LONG)
    whole = sequence_of(session, last)
    for n in range(1, len(whole.spans) + 1):
        sequence = Sequence(whole.spans[:n], seed=whole.seed)
        if stored:
            forget_live(session)
        outcome = Outcome()
        greedy = Sampling(temperature=0, max_tokens=2)
        session.engine.answer(sequence, greedy, lambda _: None, outcome)
        assert outcome.work is not None
        assert outcome.work.evaluated.count > 0
        (branch,) = session.engine.checkpoints.branches
        wanted, _ = cold(session, branch.steps, ())
        assert np.array_equal(session.engine.context.logits(), wanted)


def test_issue_28302_short_prompts_keep_their_checkpoints(session: Session, stored: bool) -> None:
    """Checkpoints nearer to each other than some step were evicted, so short turns had none."""
    turns = [ask(session, "Hi.", after=None, n=2)]
    turns += [ask(session, letter, n=2) for letter in "ABCDEF"]
    assert max(prompt(b) - prompt(a) for a, b in pairwise(turns)) < 16
    for index, turn in enumerate((*reversed(turns), *turns)):
        if stored:
            forget_live(session)
        after = ask(session, f"{index}?", after=turn, n=2)
        assert restored(after) == end(turn)
        assert_right(session, after)


@pytest.mark.parametrize("toy", ["qwen35", "gemma3"], indirect=True)
def test_issue_20532_branches_live_together(toy: Toy, open_session: Opens) -> None:
    """The same with all branches in one context, where cells of the others lie in between."""
    session = open_session(toy, exact=False)
    root = ask(session, "Remember this.", noise(1), "Yes.", after=None)
    branches = [ask(session, f"Word {letter}.", after=root) for letter in "ABC"]
    assert len({end(turn) for turn in branches}) == 1
    for index, turn in enumerate((*branches, *branches)):
        after = ask(session, f"{index}: what was it?", after=turn)
        assert restored(after) == end(turn)
        assert_nearly_right(session, after)
