"""Dialogues that are all questions of one sort, which usual dialogues ask once or twice.

What must compare a question with a picture (is there an X, which picture had the X), and what must
be said letter by letter as it was told, is learnt late there; here it is asked a dozen times.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from training.dialogues import Dialogue, where
from training.dialogues.chat import ask_fact, begin, chat, tell_fact
from training.dialogues.late import absent, ask_more, beside, biggest, tell_more
from training.dialogues.several import (
    both,
    compare,
    how_many_pictures,
    missing_picture,
    recall,
    which,
)
from training.dialogues.single import (
    colour,
    count,
    describe,
    is_there,
    place,
    relation,
    shape,
    share,
    size,
)
from training.dialogues.talk import Talk
from training.dialogues.wordings import begin_as, bigger, most, only, pair

Turn = Callable[[Talk], bool]
Weighted = tuple[tuple[Turn, float], ...]

_ONE: Weighted = (
    (is_there, 4.0), (colour, 3.0), (place, 1.5), (relation, 1.0), (count, 0.7), (shape, 0.3),
)  # fmt: skip
_TWO: Weighted = (*_ONE, (which, 6.0), (compare, 2.0))
_SEVERAL: Weighted = (
    (which, 5.0), (compare, 4.0), (recall, 1.5), (place, 1.5), (relation, 1.5), (count, 1.2),
    (is_there, 1.0), (colour, 0.8), (how_many_pictures, 0.2), (missing_picture, 0.2),
)  # fmt: skip
_PLACES: Weighted = (
    (place, 4.0), (relation, 3.0), (count, 1.0), (size, 0.8), (colour, 0.5), (is_there, 0.5),
)  # fmt: skip
_COMPARED: Weighted = (
    (compare, 5.0), (which, 4.0), (count, 3.0), (size, 2.5), (place, 0.7), (is_there, 0.7),
    (recall, 0.3),
)  # fmt: skip
_VERSUS: Weighted = (
    (compare, 9.0), (size, 1.5), (count, 1.5), (which, 1.0), (place, 1.0), (recall, 0.5),
)  # fmt: skip
_BOTH: Weighted = (
    (both, 8.0), (compare, 2.0), (which, 1.5), (size, 1.0), (place, 0.7), (is_there, 0.7),
    (recall, 0.3),
)  # fmt: skip
_COUNTS: Weighted = (
    (count, 6.0), (compare, 2.0), (which, 1.5), (place, 1.5), (size, 1.0), (is_there, 0.7),
    (recall, 0.7),
)  # fmt: skip
_SIZES: Weighted = (
    (size, 8.0), (place, 1.0), (relation, 0.7), (count, 0.7), (is_there, 0.7), (colour, 0.5),
)  # fmt: skip
_SIZES_OF_SEVERAL: Weighted = (*_SIZES, (which, 1.2), (compare, 1.2), (recall, 0.3))
_LATE: Weighted = (
    (biggest, 3.0), (beside, 4.0), (absent, 2.5), (colour, 0.8), (shape, 0.8), (place, 0.8),
    (size, 0.5), (is_there, 0.8),
)  # fmt: skip
_NEIGHBOURS: Weighted = (
    (beside, 8.0), (place, 1.5), (absent, 1.0), (biggest, 0.7), (shape, 0.4), (colour, 0.4),
    (is_there, 0.4), (relation, 0.4),
)  # fmt: skip
_FREE: Weighted = (
    (where.place, 2.5), (where.beside, 2.5), (bigger, 2.5), (only, 1.0), (count, 1.5),
    (describe, 0.8), (is_there, 1.2), (colour, 1.0), (shape, 0.7), (absent, 0.4), (biggest, 0.4),
    (size, 0.4),
)  # fmt: skip
_FREE_BACK: Weighted = ((which, 2.0), (most, 2.0), (recall, 1.5), (compare, 0.8))
_BACK: Weighted = ((which, 1.0), (recall, 0.5), (compare, 0.5))
_LATE_FACTS: Weighted = ((tell_more, 3.0), (ask_more, 4.0), (chat, 0.5))
_FACTS: Weighted = ((tell_fact, 3.0), (ask_fact, 4.0), (chat, 0.3))


def few(rng: np.random.Generator) -> Dialogue:
    """A random dialogue of a dozen questions about one or two pictures."""
    talk = Talk(random.Random(int(rng.integers(2**62))), held_out=False, draw=True)
    second = talk.rng.randrange(3, 6) if talk.rng.random() < 0.4 else None
    for turn in range(13):
        if turn in (0, second):
            (share if talk.rng.random() < 0.3 else _shows)(talk)
            continue
        _one_of(talk, _ONE if len(talk.views) == 1 else _TWO)
    return talk.dialogue


def _shows(talk: Talk) -> bool:
    return talk.rng.choice((is_there, is_there, colour, place))(talk, shows=True)


def several(rng: np.random.Generator) -> Dialogue:
    """A random dialogue of questions about two to four pictures, soon after they were shown."""
    talk = Talk(random.Random(int(rng.integers(2**62))), held_out=False, draw=True, strangers=0.8)
    if talk.rng.random() < 0.2:
        begin(talk)
    pictures = talk.rng.choice((2, 2, 3, 3, 4))
    told = talk.rng.random() < 0.3
    for turn in range(12):
        if turn < pictures:
            ways = (share, describe, count, place, colour, is_there)
            way = talk.rng.choices(ways, (2, 1, 1, 1, 0.5, 0.5))[0]
            way(talk) if way is share else way(talk, shows=True)
        elif told and talk.rng.random() < 0.3:
            _one_of(talk, _FACTS)
        else:
            _one_of(talk, _SEVERAL)
    return talk.dialogue


def facts(rng: np.random.Generator) -> Dialogue:
    """A random dialogue in which things are told and asked for; some have a picture."""
    talk = Talk(random.Random(int(rng.integers(2**62))), held_out=False, draw=True, strangers=0.8)
    if talk.rng.random() < 0.4:
        begin(talk)
    shown = talk.rng.randrange(12) if talk.rng.random() < 0.4 else None
    for turn in range(13):
        if turn == shown:
            share(talk)
        elif talk.views and talk.rng.random() < 0.15:
            _one_of(talk, _ONE)
        else:
            _one_of(talk, _FACTS)
    return talk.dialogue


def places(rng: np.random.Generator) -> Dialogue:
    """A random dialogue about where things stand in one or two pictures, and how many there are."""
    talk = Talk(random.Random(int(rng.integers(2**62))), held_out=False, draw=True)
    second = talk.rng.randrange(1, 7) if talk.rng.random() < 0.6 else None
    for turn in range(13):
        if turn in (0, second):
            way = talk.rng.choice((share, place, relation, count, size))
            way(talk) if way is share else way(talk, shows=True)
        else:
            _one_of(talk, _PLACES)
    return talk.dialogue


def compared(rng: np.random.Generator, about: Weighted = _COMPARED) -> Dialogue:
    """A random dialogue that counts and compares, mostly in three or four pictures."""
    talk = Talk(random.Random(int(rng.integers(2**62))), held_out=False, draw=True, strangers=0.8)
    if talk.rng.random() < 0.3:
        begin(talk)
    pictures = talk.rng.choice((2, 3, 3, 4, 4))
    for turn in range(12):
        if turn < pictures:
            way = talk.rng.choice((share, describe, count, size, place))
            way(talk) if way is share else way(talk, shows=True)
        elif talk.rng.random() < 0.1:
            _one_of(talk, _FACTS)
        else:
            _one_of(talk, about)
    return talk.dialogue


def versus(rng: np.random.Generator) -> Dialogue:
    """A random dialogue that compares one picture with another, mostly of three or four."""
    return compared(rng, _VERSUS)


def in_both(rng: np.random.Generator) -> Dialogue:
    """A random dialogue about what two pictures both have, mostly of three or four."""
    return compared(rng, _BOTH)


def counts(rng: np.random.Generator) -> Dialogue:
    """A random dialogue about how many shapes there are, mostly in three or four pictures."""
    return compared(rng, _COUNTS)


def sizes(rng: np.random.Generator, *, held_out: bool = False, draw: bool = True) -> Dialogue:
    """A random dialogue about which shape is the bigger, in one to four pictures."""
    talk = Talk(
        random.Random(int(rng.integers(2**62))),
        held_out=held_out,
        draw=draw,
        strangers=0.8,
        sized=0.9,
    )
    if talk.rng.random() < 0.2:
        begin(talk)
    pictures = talk.rng.choice((1, 2, 3, 3, 4))
    for turn in range(12):
        if turn < pictures:
            way = talk.rng.choice((share, describe, size, size, size, place))
            way(talk) if way is share else way(talk, shows=True)
        elif talk.rng.random() < 0.1:
            _one_of(talk, _FACTS)
        else:
            _one_of(talk, _SIZES if len(talk.views) == 1 else _SIZES_OF_SEVERAL)
    return talk.dialogue


def late(
    rng: np.random.Generator,
    about: Weighted = _LATE,
    *,
    held_out: bool = False,
    draw: bool = True,
) -> Dialogue:
    """A random dialogue of what only the last rounds ask (`training.dialogues.late`)."""
    talk = Talk(
        random.Random(int(rng.integers(2**62))),
        held_out=held_out,
        draw=draw,
        strangers=0.6,
        sized=0.7,
    )
    begin(talk)
    pictures = talk.rng.choice((0, 1, 1, 2, 2, 3, 4))
    facts = 1.0 if not pictures else talk.rng.choice((0.0, 0.2, 0.4))
    for turn in range(12):
        if turn < pictures:
            way = talk.rng.choice((share, describe, biggest, beside, absent, place))
            way(talk) if way is share else way(talk, shows=True)
        elif talk.rng.random() < facts:
            _one_of(talk, _LATE_FACTS)
        else:
            _one_of(talk, about if len(talk.views) == 1 else (*about, *_BACK))
    return talk.dialogue


def neighbours(rng: np.random.Generator) -> Dialogue:
    """A random dialogue about what stands beside what, in any direction."""
    return late(rng, _NEIGHBOURS)


def free(rng: np.random.Generator, *, held_out: bool = False, draw: bool = True) -> Dialogue:
    """A random dialogue about pictures whose shapes stand anywhere, and in other words."""
    talk = Talk(
        random.Random(int(rng.integers(2**62))),
        held_out=held_out,
        draw=draw,
        strangers=0.6,
        sized=0.5,
        free=0.75,
    )
    begin_as(talk)
    pictures = talk.rng.choice((1, 1, 1, 2, 2, 3, 4))
    facts = talk.rng.choice((0.0, 0.0, 0.15, 0.3))
    while len(talk.dialogue.tasks) < 12:
        if len(talk.views) < pictures:
            ways = (share, describe, pair, where.place, where.beside, bigger, count, only, is_there)
            way = talk.rng.choices(ways, (3, 3, 1.5, 0.7, 0.7, 0.5, 0.7, 0.4, 0.5))[0]
            if way is pair and len(talk.views) + 2 > max(2, pictures):
                continue
            way(talk) if way in (share, pair) else way(talk, shows=True)
        elif talk.rng.random() < facts:
            _one_of(talk, _LATE_FACTS)
        else:
            _one_of(talk, _FREE if len(talk.views) == 1 else (*_FREE, *_FREE_BACK))
    return talk.dialogue


def _one_of(talk: Talk, choices: Weighted) -> None:
    turns, weights = zip(*choices, strict=True)
    while not talk.rng.choices(turns, weights)[0](talk):
        pass


DRILLS = (
    few, several, facts, places, compared, sizes, versus, in_both, counts, late, neighbours, free,
)  # fmt: skip
"""In the order of `training.plan.Round.drills`."""
