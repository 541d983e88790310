"""Two pictures in one turn, and questions in other words: the answers are so."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from llmagic.demo.picture import COLOURS, SHAPES
from tests.demo.mentions import mentioned
from training.dialogues.chat import begin
from training.dialogues.several import most, pair
from training.dialogues.single import is_there, only
from training.dialogues.sizes import bigger, biggest, size
from training.dialogues.talk import NUMBERS, Talk, listed

KIND = rf"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"


def talks(n: int = 200) -> list[Talk]:
    return [Talk(random.Random(i), held_out=False, draw=False, sized=0.9) for i in range(n)]


def last(talk: Talk) -> tuple[str, str]:
    """Question and answer of the last turn."""
    question, answer = talk.dialogue.messages[-2:]
    return " ".join(p for p in question.parts if isinstance(p, str)), str(answer.parts[0])


def test_a_turn_may_have_two_pictures() -> None:
    forms = set()
    for talk in talks():
        pair(talk)
        pair(talk)
        assert len(talk.views) == len(talk.dialogue.scenes) == 4
        parts = talk.dialogue.messages[-2].parts
        assert sum(not isinstance(part, str) for part in parts) == 2
        forms.add(tuple(isinstance(part, str) for part in parts))
        (question, answer), (one, two) = last(talk), (view.names for view in talk.views[2:])
        if "more" in question or "fewer" in question:
            third = (len(one) > len(two)) == ("more" in question)
            assert answer == ("Picture three." if third else "Picture four.")
        else:
            assert answer == f"Picture three: {listed(one)}. Picture four: {listed(two)}."
    assert len(forms) > 4


def test_the_bigger_is_bigger() -> None:
    seen = set()
    for talk in talks(600):
        talk.new_view()
        if not talk.rng.choice((size, bigger, biggest))(talk):
            continue
        question, answer = last(talk)
        objects = talk.views[0].objects
        named = mentioned(question, objects)
        small = "smaller" in question or "smallest" in question
        if answer in ("Yes.", "No."):
            one, two = named
            assert (answer == "Yes.") == ((one.size > two.size) != small)
            seen.add(answer)
        else:
            (item,) = mentioned(answer, objects)
            sizes = [each.size for each in named or objects]
            assert item.size == (min if small else max)(sizes)
            seen.add("which")
        briefly = len(named) > len(re.findall(KIND, question))
        seen.add("briefly" if briefly else "")
    assert seen == {"Yes.", "No.", "which", "briefly", ""}


def test_a_shape_has_the_colour_it_is_said_to_have() -> None:
    seen = set()
    for talk in talks(400):
        talk.new_view()
        if not is_there(talk):
            continue
        question, answer = last(talk)
        colours = [word for word in COLOURS if f" {word}" in question]
        if not re.match(rf"(?i)is the ({'|'.join(SHAPES)})\b", question) or not colours:
            continue
        (item,) = mentioned(question, talk.views[0].objects)
        assert (answer == "Yes.") == (colours == [item.colour])
        seen.add(answer)
    assert seen == {"Yes.", "No."}


def test_the_most_shapes_are_in_that_picture() -> None:
    asked = 0
    for talk in talks():
        for _ in range(3):
            talk.new_view()
        if not most(talk):
            continue
        question, answer = last(talk)
        counts = [len(view.objects) for view in talk.views]
        if "most" in question or "fewest" in question:
            best = (max if "most" in question else min)(counts)
            assert counts.count(best) == 1
            assert answer == f"Picture {NUMBERS[counts.index(best) + 1]}."
            asked += 1
    assert asked > 20


@pytest.mark.parametrize("turn", [only, bigger])
def test_a_question_that_does_not_suit_is_not_asked(turn: Callable[..., bool]) -> None:
    for talk in talks():
        talk.new_view([("red", "star"), ("blue", "circle"), ("pink", "heart")])
        if turn is only:
            assert not turn(talk)
        elif not turn(talk):
            assert not talk.dialogue.messages


def test_a_system_prompt_may_set_a_name_and_a_tone_at_once() -> None:
    both = 0
    for talk in talks():
        begin(talk)
        text = str(talk.dialogue.messages[0].parts[0]) if talk.dialogue.messages else ""
        assert talk.name in text
        both += bool(talk.name and talk.tone)
    assert both > 15
