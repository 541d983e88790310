"""Questions about where shapes stand, and the one right answer to each.

A turn is a function of the talk, as in `training.dialogues.single`. What people might answer
differently is not asked.
"""

from __future__ import annotations

import math

from training.dialogues.layouts import Point
from training.dialogues.single import called, instead, where_to_look, yes_or_no
from training.dialogues.talk import Talk, View, a, listed, sentence

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


Sides = tuple[int | None, int | None]
"""Left, middle or right, and top, middle or bottom, as -1, 0 and 1; None where people differ."""


def _sides(view: View) -> list[Sides]:
    """Where each shape of a picture stands.

    It has to be so within the picture, and among its shapes if there are several.
    """
    points = _points(view)

    def side(value: float, values: list[float]) -> int | None:
        within, extent = _third(value), max(values) - min(values)
        among = 0 if extent < 0.34 else _third((value - min(values)) / extent)
        return within if within == among or len(points) == 1 else None

    xs, ys = [x for x, _ in points], [y for _, y in points]
    return [(side(x, xs), side(y, ys)) for x, y in points]


def _stands(sides: Sides, at: tuple[int, int]) -> bool | None:
    """Whether a shape stands at a place; None where people differ.

    "On the right" is wherever it is right, up or down; "at the top right" is in that corner.
    """
    pairs = [(one, two) for one, two in zip(sides, at, strict=True) if two or at == (0, 0)]
    if any(one is not None and one != two for one, two in pairs):
        return False
    return None if any(one is None for one, _ in pairs) else True


def _words(talk: Talk, at: tuple[int, int]) -> str:
    """A place, as people call it in a question."""
    name = _NAMES[at]
    if at == (0, 0) or talk.rng.random() < 0.8:
        return name
    return f"in the {name[7:]} corner" if 0 not in at else f"{name} side" if at[0] else name


def _points(view: View) -> list[Point]:
    scene = view.scene
    return [(item.x / scene.width, item.y / scene.height) for item in view.objects]


def place(talk: Talk, *, shows: bool = False) -> bool:
    """Where a shape is, whether it is there, or what is there."""
    view, where = where_to_look(talk, shows)
    rng, sides = talk.rng, _sides(view)
    i = rng.randrange(len(sides))
    own = next((_NAMES[at] for at in _NAMES if at == sides[i]), "")
    name = called(talk, view, view.objects[i])
    draw = rng.random()
    if draw < 0.4 and own:
        question = rng.choice((
            "Where is the {name}{where}?", "Where do you see the {name}{where}?",
            "Where's the {name}{where}?", "Where does the {name} stand{where}?",
        ))  # fmt: skip
        talk.say("place", question, sentence(own), shows=shows, where=where, name=name)
        return True
    if draw < 0.7:
        return _what_stands(talk, view, where, sides, shows)
    yes = rng.random() < 0.5
    both = [[at for at in _NAMES if _stands(sides[i], at) is so] for so in (False, True)]
    if not all(both):
        return instead(talk, shows)
    places = both[yes]
    # Mostly where another shape is.
    near = [at for at in places if any(_stands(one, at) for one in sides)]
    places = near if near and rng.random() < 0.6 else places
    question = rng.choice((
        "Is the {name} {at}{where}?", "Is the {name} {at}{where}?",
        "Do you see the {name} {at}{where}?", "Does the {name} stand {at}{where}?",
    ))  # fmt: skip
    talk.say("place", question, yes_or_no(yes), shows=shows, where=where, name=name,
             at=_words(talk, rng.choice(places)))  # fmt: skip
    return True


def _what_stands(talk: Talk, view: View, where: str, sides: list[Sides], shows: bool) -> bool:
    """What is at a place: one shape or several, now and then none; never all of them."""
    rng = talk.rng
    there: dict[tuple[int, int], list[str]] = {}
    for at in _NAMES:
        stands = [_stands(one, at) for one in sides]
        if None not in stands:
            there[at] = [one.name for one, so in zip(view.objects, stands, strict=True) if so]
    free = [at for at in there if not there[at]]
    taken = [at for at in there if 0 < len(there[at]) < max(2, len(sides))]
    several = [at for at in taken if len(there[at]) > 1]
    taken = several if several and rng.random() < 0.5 else [at for at in taken if at not in several]
    places = free if rng.random() < 0.15 else taken
    if not places:
        return instead(talk, shows)
    at = rng.choice(places)
    question = rng.choice((
        "What is {at}{where}?", "Which shape is {at}{where}?", "What do you see {at}{where}?",
        "What stands {at}{where}?",
    ) if len(there[at]) < 2 else (
        "What is {at}{where}?", "Which shapes are {at}{where}?", "What do you see {at}{where}?",
        "What shapes are {at}{where}?",
    ))  # fmt: skip
    answer = sentence(listed(there[at])) if there[at] else "Nothing."
    talk.say("place", question, answer, shows=shows, where=where, at=_words(talk, at))
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
    if draw < 0.15:
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
    # Above and below are learnt last where four stand in a square.
    if len(points) == 4 and towards[0] and rng.random() < 0.25:
        word, towards = rng.choice([one for one in _TOWARDS.items() if one[1][1]])
    if draw < 0.55:
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
