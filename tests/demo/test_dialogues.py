"""Two pictures in one turn, and questions in other words: the answers are so."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from llmagic.demo.picture import COLOURS, SHAPES
from tests.demo.mentions import mentioned
from training.dialogues.chat import TOPICS, ask_fact, begin, own_name, tell_fact
from training.dialogues.several import compare, most, pair, which
from training.dialogues.single import OTHER_COLOURS, OTHER_SHAPES, is_there, only
from training.dialogues.sizes import bigger, biggest, size
from training.dialogues.talk import NUMBERS, Talk, listed
from training.dialogues.typed import typed

KIND = rf"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"


def talks(n: int = 200) -> list[Talk]:
    return [Talk(random.Random(i), held_out=False, draw=False, sized=0.9) for i in range(n)]


def last(talk: Talk) -> tuple[str, str]:
    """Question and answer of the last turn."""
    question, answer = talk.dialogue.messages[-2:]
    return " ".join(p for p in question.parts if isinstance(p, str)), str(answer.parts[0])


@pytest.mark.usefixtures("plainly")
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


@pytest.mark.usefixtures("plainly")
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


@pytest.mark.usefixtures("plainly")
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


@pytest.mark.usefixtures("plainly")
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


def test_without_a_name_in_its_prompt_it_has_none() -> None:
    seen = set()
    for talk in talks(400):
        begin(talk)
        if not own_name(talk):
            continue
        _, answer = last(talk)
        prompted = talk.dialogue.messages[0].role == "system"
        says = answer.removeprefix(talk.tone)
        if says != "I have no name.":
            name = says.removeprefix("My name is ").removesuffix(".")
            assert name in str(talk.dialogue.messages[0].parts[0])
        assert (says == "I have no name.") == (not talk.name)
        seen.add((prompted, bool(talk.name), bool(talk.tone)))
    assert len(seen) == 5  # with a prompt each of four; without one neither


@pytest.mark.usefixtures("plainly")
def test_two_things_may_be_told_at_once() -> None:
    twice = 0
    for talk in talks(400):
        if tell_fact(talk) and len(talk.facts) == 2:
            question, answer = last(talk)
            one, two = talk.facts.values()
            assert answer == f"Okay, {one} and {two}."
            for name, v in talk.facts.items():
                said = [text.rstrip(".").format(v=v).lower() for text in TOPICS[name].tell]
                assert any(text in question.lower() for text in said)
            right = {TOPICS[name].answer.format(v=v) for name, v in talk.facts.items()}
            heard = set()
            for _ in range(30):
                if ask_fact(talk) and talk.dialogue.tasks[-1] == "told":
                    heard.add(last(talk)[1])
            assert heard == right
            twice += 1
    assert twice > 20


@pytest.mark.usefixtures("plainly")
def test_as_many_are_not_more() -> None:
    seen = set()
    for talk in talks(600):
        talk.new_view()
        talk.new_view()
        if not compare(talk) or "than" not in (question := last(talk)[0]):
            continue
        counts = [len(view.objects) for view in talk.views]
        if re.search("two|2|second|one|1|first", question)[0] in ("two", "2", "second"):  # type: ignore[index]
            counts.reverse()
        right = counts[0] > counts[1] if "more" in question else counts[0] < counts[1]
        assert last(talk)[1] == ("Yes." if right else "No.")
        seen.add(counts[0] == counts[1])
    assert seen == {True, False}


@pytest.mark.usefixtures("plainly")
def test_all_pictures_are_named_that_have_it() -> None:
    several = 0
    for talk in talks(400):
        for _ in range(3):
            talk.new_view()
        if not which(talk):
            continue
        question, answer = last(talk)
        words = [word for word in (*COLOURS, *SHAPES) if f" {word}" in question]
        have = [
            NUMBERS[i]
            for i, view in enumerate(talk.views, 1)
            if any(all(word in item.name.split() for word in words) for item in view.objects)
        ]
        assert re.findall("one|two|three", answer.replace("None", "")) == have
        several += len(have) > 1
    assert several > 20


@pytest.mark.usefixtures("plainly")
def test_what_no_picture_has_is_not_there() -> None:
    others = 0
    for talk in talks(600):
        talk.new_view()
        if not is_there(talk):
            continue
        question, answer = last(talk)
        if re.search(rf" ({'|'.join((*OTHER_COLOURS, *OTHER_SHAPES))})\b", question):
            assert answer == "No."
            others += 1
    assert others > 5
    assert not {*OTHER_COLOURS, *OTHER_SHAPES} & {*COLOURS, *SHAPES}


def test_people_mistype_all_but_what_is_to_be_said_again() -> None:
    rng = random.Random(0)
    texts = [
        typed(rng, "The {it} is called {v}.", it="second picture", v="Wanda") for _ in range(3000)
    ]
    assert all("Wanda" in text for text in texts)
    assert any("SECOND PICTURE" in text for text in texts)
    assert any("second picture" not in text.lower() for text in texts)
