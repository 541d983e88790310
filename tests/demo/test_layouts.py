"""Pictures whose shapes stand anywhere: their order, and what is said of where they stand."""

from __future__ import annotations

import math
import random
import re

import pytest

from llmagic.demo.picture import COLOURS, SHAPES, Object
from tests.demo.mentions import mentioned
from training.dialogues.layouts import LEAST, anywhere, reading_order
from training.dialogues.looks import Looks
from training.dialogues.scenes import TOKENS, kinds, random_kinds
from training.dialogues.talk import Talk
from training.dialogues.where import beside, place
from training.preprocess import CELL, framed


@pytest.mark.parametrize(
    ("points", "order"),
    [
        ([(0.5, 0.5)], [0]),
        ([(0.8, 0.2), (0.1, 0.3)], [1, 0]),
        ([(0.4, 0.8), (0.5, 0.2)], [1, 0]),
        ([(0.2, 0.8), (0.5, 0.2), (0.8, 0.8)], [1, 0, 2]),
        ([(0.9, 0.3), (0.1, 0.3), (0.4, 0.35), (0.7, 0.4)], [1, 2, 3, 0]),
        ([(0.5, 0.9), (0.2, 0.1), (0.8, 0.1)], [1, 2, 0]),
        ([(0.1, 0.9), (0.5, 0.5), (0.9, 0.1)], [2, 1, 0]),
        # From the left, or from the top? A row? Two rows or three?
        ([(0.2, 0.8), (0.8, 0.28)], []),
        ([(0.1, 0.5), (0.9, 0.15), (0.5, 0.5)], []),
        ([(0.1, 0.1), (0.9, 0.6), (0.5, 0.45)], []),
        ([(0.2, 0.2), (0.6, 0.35), (0.5, 0.8), (0.9, 0.9)], []),
    ],
)
def test_shapes_are_named_in_reading_order(
    points: list[tuple[float, float]], order: list[int]
) -> None:
    assert reading_order(points) == order


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_shapes_stand_anywhere_and_hide_nothing(n: int) -> None:
    sizes, grounds, thirds = [], set(), set()
    for seed in range(150):
        rng = random.Random(seed)
        wanted = random_kinds(rng, n)
        scene = anywhere(rng, wanted)
        assert sorted((one.colour, one.shape) for one in scene.objects) == sorted(wanted)
        assert 9 / 16 - 0.1 < scene.width / scene.height < 16 / 9 + 0.1
        grounds.add(scene.background)
        for one in scene.objects:
            reach = one.size / 2
            assert reach <= one.x <= scene.width - reach
            assert reach <= one.y <= scene.height - reach
            assert one.rgb is not None
            assert math.dist(one.rgb, scene.background) >= 95
            sizes.append(one.size / min(scene.width, scene.height))
            thirds.add((int(3 * one.x / scene.width), int(3 * one.y / scene.height)))
            for two in scene.objects:
                apart = math.dist((one.x, one.y), (two.x, two.y))
                assert one is two or apart > (one.size + two.size) / 2
        places = [(one.x / scene.width, one.y / scene.height) for one in scene.objects]
        assert reading_order(places) == list(range(n))
        seen = framed(scene, TOKENS)
        assert min(one.size for one in seen.objects) >= LEAST - 0.5
        assert (kinds(seen, seen.height // CELL, seen.width // CELL) >= 0).sum() == n
    assert len(thirds) == 9
    assert len(grounds) > 10
    assert min(sizes) < 0.2
    assert max(sizes) > 0.35


KIND = rf"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
DIRECTIONS = {
    "left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1), "over": (0, -1),
    "under": (0, 1),
}  # fmt: skip
SIDES = {"left": (0, 0.33), "right": (0, 0.67), "top": (1, 0.33), "bottom": (1, 0.67)}


def stands(one: Object, at: str, size: tuple[int, int], *, nowhere_else: bool = False) -> bool:
    """Whether a shape stands at a place, "at the top left" and the like.

    What is "on the right" may be up or down, unless it is to say all of where it stands.
    """
    place = (one.x / size[0], one.y / size[1])
    sides = {axis: (value, word) for word, (axis, value) in SIDES.items() if word in at}
    for axis in (0, 1):
        if axis not in sides:
            if (nowhere_else or not sides) and not 0.33 < place[axis] < 0.67:
                return False
        elif (place[axis] < sides[axis][0]) != (sides[axis][1] in ("left", "top")):
            return False
    return True


@pytest.mark.parametrize("free", [0.0, 1.0])
@pytest.mark.usefixtures("plainly")
def test_what_is_said_of_places_is_so(free: float) -> None:
    forms: dict[str, int] = {}
    several = 0
    for seed in range(1500):
        talk = Talk(random.Random(seed), held_out=False, draw=False, looks=Looks(free=free))
        if not (beside if seed % 2 else place)(talk, shows=True):
            continue
        question = str(next(p for p in talk.dialogue.messages[0].parts if isinstance(p, str)))
        answer = str(talk.dialogue.messages[1].parts[0])
        scene = talk.views[0].scene
        items = {item.name: item for item in scene.objects}
        size = (scene.width, scene.height)
        named = mentioned(question, scene.objects)
        word = next((word for word in DIRECTIONS if f" {word} " in question), "")
        at = re.search(r"(at the|on the|in the) (top|bottom|middle|left|right)( left| right)?",
                       question)  # fmt: skip
        if word and len(named) == 2:
            form, (right, down) = "whether in a direction", DIRECTIONS[word]
            along = (named[0].x - named[1].x) * right + (named[0].y - named[1].y) * down
            assert answer == ("Yes." if along > 0 else "No.")
        elif word:
            form, (right, down) = "what in a direction", DIRECTIONS[word]
            steps = {}
            for name, item in items.items():
                x, y = (item.x - named[0].x) / size[0], (item.y - named[0].y) / size[1]
                steps[name] = x * right + y * down, abs(x * down) + abs(y * right)
            found = re.findall(KIND, answer)
            if found:
                assert steps[found[0]][0] > 0.1
            else:
                assert answer == "Nothing."
                assert all(ahead < 0.15 or aside > 2.4 * ahead for ahead, aside in steps.values())
        elif at and named:
            form = "whether at a place"
            assert (answer == "Yes.") == stands(named[0], at[0], size), (question, scene)
        elif at:
            form = "what at a place"
            found = re.findall(KIND, answer)
            there = [name for name, item in items.items() if stands(item, at[0], size)]
            assert there == found, (question, scene)
            several += len(found) > 1
        elif named and "where" in question.lower():
            form = "where"
            assert stands(named[0], answer.lower(), size, nowhere_else=True)
        else:
            continue
        forms[form] = forms.get(form, 0) + 1
    assert len(forms) == 5
    assert min(forms.values()) > 20, forms
    assert several > 10


@pytest.mark.usefixtures("plainly")
def test_only_one_of_three_in_a_row_is_in_the_middle() -> None:
    answers: dict[str, int] = {}
    for seed in range(3000):
        talk = Talk(random.Random(seed), held_out=False, draw=False)
        scene = talk.new_view(random_kinds(talk.rng, 3)).scene
        if not place(talk):
            continue
        question, answer = (str(message.parts[0]) for message in talk.dialogue.messages[:2])
        if "in the middle" not in question:
            continue
        middle = scene.objects[1].name
        if question.startswith(("What", "Which")):
            assert answer == f"{'An' if middle[0] in 'aeiou' else 'A'} {middle}."
            answer = "what"
        elif answer == "Yes.":
            assert [item.name for item in mentioned(question, scene.objects)] == [middle]
        answers[answer] = answers.get(answer, 0) + 1
    assert min(answers[each] for each in ("Yes.", "No.", "what")) > 20, answers
