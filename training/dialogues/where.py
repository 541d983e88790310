"""Questions about where shapes stand, and the one right answer to each.

A turn is a function of the talk, as in `training.dialogues.single`. What people might answer
differently is not asked.
"""

from __future__ import annotations

import math

from training.dialogues.layouts import Point
from training.dialogues.single import called, instead, where_to_look, yes_or_no
from training.dialogues.talk import Talk, View, a, sentence

_NAMES = {
    (-1, -1): "at the top left", (0, -1): "at the top", (1, -1): "at the top right",
    (-1, 0): "on the left", (0, 0): "in the middle", (1, 0): "on the right",
    (-1, 1): "at the bottom left", (0, 1): "at the bottom", (1, 1): "at the bottom right",
}  # fmt: skip


def _third(value: float) -> int | None:
    """-1, 0 or 1 for the first, second or last third; None near their borders."""
    if value < 0.32:
        return -1
    if value > 0.68:
        return 1
    return 0 if 0.38 <= value <= 0.62 else None


def place_names(view: View) -> list[str]:
    """Where each shape of a picture stands, "" where it cannot be said.

    It has to be so within the picture, and among its shapes if there are several.
    """
    points = _points(view)
    names = []
    for x, y in points:
        sides = []
        for value, values in ((x, [x for x, _ in points]), (y, [y for _, y in points])):
            side, extent = _third(value), max(values) - min(values)
            among = 0 if extent < 0.34 else _third((value - min(values)) / extent)
            sides.append(side if side == among or len(points) == 1 else None)
        names.append(_NAMES.get((sides[0], sides[1]), "") if None not in sides else "")
    return names


def _points(view: View) -> list[Point]:
    scene = view.scene
    return [(item.x / scene.width, item.y / scene.height) for item in view.objects]


def place(talk: Talk, *, shows: bool = False) -> bool:
    """Where a shape is, whether it is there, or what is there."""
    view, where = where_to_look(talk, shows)
    rng, names = talk.rng, place_names(view)
    known = [i for i, name in enumerate(names) if name]
    if not known:
        return instead(talk, shows)
    i = rng.choice(known)
    item, at = view.objects[i], names[i]
    name = called(talk, view, item)
    draw = rng.random()
    if draw < 0.4:
        question = rng.choice((
            "Where is the {name}{where}?", "Where do you see the {name}{where}?",
            "Where's the {name}{where}?", "Where does the {name} stand{where}?",
        ))  # fmt: skip
        talk.say("place", question, sentence(at), shows=shows, where=where, name=name)
    elif draw < 0.7 and "" not in names:
        question = rng.choice((
            "What is {at}{where}?", "Which shape is {at}{where}?", "What do you see {at}{where}?",
            "What stands {at}{where}?",
        ))  # fmt: skip
        answer = sentence(a(item.name))
        if rng.random() < 0.15:
            free = [name for name in _NAMES.values() if name not in names]
            at, answer = rng.choice(free), "Nothing."
        elif names.count(at) > 1:
            return instead(talk, shows)
        talk.say("place", question, answer, shows=shows, where=where, at=at)
    else:
        yes = rng.random() < 0.5
        others = [name for name in (*names, *_NAMES.values()) if name not in (at, "")]
        question = rng.choice((
            "Is the {name} {at}{where}?", "Is the {name} {at}{where}?",
            "Do you see the {name} {at}{where}?", "Does the {name} stand {at}{where}?",
        ))  # fmt: skip
        talk.say("place", question, yes_or_no(yes), shows=shows, where=where, name=name,
                 at=at if yes else rng.choice(others))  # fmt: skip
    return True


_TOWARDS = {
    "left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1),
    "to the left of": (-1, 0), "to the right of": (1, 0), "over": (0, -1), "under": (0, 1),
}  # fmt: skip


def beside(talk: Talk, *, shows: bool = False) -> bool:
    """What stands next to a shape, in a direction or in any, or whether one does."""
    view, where = where_to_look(talk, shows)
    rng, points = talk.rng, _points(view)
    if len(points) == 1:
        return instead(talk, shows)
    i = rng.randrange(len(points))
    one = called(talk, view, view.objects[i])
    draw = rng.random()
    if draw < 0.2:
        near = sorted((math.dist(points[i], points[j]), j) for j in range(len(points)) if j != i)
        if len(near) > 1 and near[1][0] < 1.5 * near[0][0]:
            return instead(talk, shows)
        question = rng.choice((
            "What is next to the {one}{where}?", "What is beside the {one}{where}?",
            "Which shape is next to the {one}{where}?", "What stands next to the {one}{where}?",
            "What is near the {one}{where}?", "What do you see next to the {one}{where}?",
        ))  # fmt: skip
        answer = sentence(a(view.objects[near[0][1]].name))
        talk.say("place", question, answer, shows=shows, where=where, one=one)
        return True
    word, towards = rng.choice(list(_TOWARDS.items()))
    if draw < 0.6:
        found = _in_direction(points, i, towards)
        if found is None:
            return instead(talk, shows)
        answer = sentence(a(view.objects[found].name)) if found >= 0 else "Nothing."
        if found < 0 and rng.random() < 0.5:
            return instead(talk, shows)
        question = rng.choice((
            "What is {word} the {one}{where}?", "Which shape is {word} the {one}{where}?",
            "What do you see {word} the {one}{where}?", "What stands {word} the {one}{where}?",
            "What's {word} the {one}{where}?",
        ))  # fmt: skip
        talk.say("place", question, answer, shows=shows, where=where, word=word, one=one)
        return True
    j = rng.choice([j for j in range(len(points)) if j != i])
    along, aside = _steps(points[j], points[i], towards)
    if abs(along) < 0.2 or aside > 1.3 * abs(along):
        return instead(talk, shows)
    question = rng.choice((
        "Is the {one} {word} the {two}{where}?", "Does the {one} stand {word} the {two}{where}?",
    ))  # fmt: skip
    talk.say("place", question, yes_or_no(along > 0), shows=shows, where=where, word=word,
             one=one, two=called(talk, view, view.objects[j]))  # fmt: skip
    return True


def _steps(start: Point, end: Point, towards: tuple[int, int]) -> tuple[float, float]:
    """How far it is from one to the other in a direction, and how far aside (never negative)."""
    right, down = end[0] - start[0], end[1] - start[1]
    return right * towards[0] + down * towards[1], abs(right * towards[1]) + abs(down * towards[0])


def _in_direction(points: list[Point], i: int, towards: tuple[int, int]) -> int | None:
    """Which stands next in a direction: -1 for none, None where people might differ."""
    ahead: list[tuple[float, int]] = []
    oblique: list[float] = []
    for j, point in enumerate(points):
        along, aside = _steps(points[i], point, towards)
        if j == i or along < -0.05 or (along < 0.12 and aside > 3 * along):
            continue
        if along < 0.15 or 0.45 * along < aside < 0.75 * along:
            return None
        if aside < along:
            ahead.append((along, j))
        elif aside < 2.5 * along:
            oblique.append(along)
    ahead.sort()
    if not ahead:
        return None if oblique else -1
    nearest = ahead[0][0]
    if any(one < nearest - 0.1 for one in oblique) or any(
        one < nearest + 0.15 for one, _ in ahead[1:]
    ):
        return None
    return ahead[0][1]
