"""Sorts of dialogues: usual ones, and drills that are all questions of one sort.

What must compare a question with a picture (is there an X, which picture had the X), and what must
be said letter by letter as it was told, is asked once or twice in a usual dialogue and learnt late
there; in a drill it is asked a dozen times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np

from training.dialogues.chat import ask_fact, begin, chat, own_name, tell_fact
from training.dialogues.looks import Looks
from training.dialogues.several import (
    both,
    compare,
    how_many_pictures,
    missing_picture,
    most,
    pair,
    recall,
    which,
)
from training.dialogues.single import absent, colour, count, describe, is_there, only, shape, share
from training.dialogues.sizes import bigger, biggest, size
from training.dialogues.talk import Dialogue, Talk
from training.dialogues.where import beside, place

Turn = Callable[[Talk], bool]
Weighted = tuple[tuple[Turn, float], ...]

_NEW: dict[Turn, Turn] = {
    turn: partial(turn, shows=True)
    for turn in (describe, colour, shape, count, place, beside, is_there, only, size, bigger,
                 biggest, absent)
}  # fmt: skip
"""Turns that can come with a picture of their own, and how they do."""


@dataclass(frozen=True)
class Drill:
    """What the turns of a dialogue are.

    Attributes
    ----------
    pictures : tuple of int
        How many there are, each as likely.
    shows : Weighted
        Turns that come with a picture.
    about : Weighted
        Turns about the pictures.
    back, often : Weighted, float
        Turns about several pictures, and what fraction they are once there are two.
    facts : tuple of float
        Fraction of the turns in which something is told or asked for, each as likely; all where
        there is no picture.
    turns : (int, int)
        Fewest and most turns.
    spread : bool
        Whether the pictures come in the first two thirds, or all at the beginning.
    begins : float
        Fraction of the dialogues that may have a system prompt.
    sized, strangers : float
        As for `training.dialogues.talk.Talk`.
    """

    pictures: tuple[int, ...]
    shows: Weighted
    about: Weighted
    back: Weighted = ()
    often: float = 0.6
    facts: tuple[float, ...] = (0.0,)
    turns: tuple[int, int] = (12, 12)
    spread: bool = False
    begins: float = 0.2
    sized: float = 0.4
    strangers: float = 0.7


_FACTS: Weighted = ((tell_fact, 3.0), (ask_fact, 4.0), (chat, 0.5), (own_name, 0.5))
_SHOWS: Weighted = ((share, 3.0), (describe, 2.0), (pair, 0.8), (place, 0.7), (count, 0.7))

USUAL = Drill(
    pictures=(0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4),
    shows=(
        (share, 10.0), (describe, 2.0), (colour, 1.5), (shape, 0.8), (count, 1.5), (place, 1.5),
        (beside, 1.0), (is_there, 3.0), (bigger, 0.4), (only, 0.3), (pair, 0.8), (absent, 0.4),
    ),
    about=(
        (describe, 0.4), (colour, 1.6), (shape, 1.0), (count, 1.7), (place, 1.7), (beside, 1.5),
        (is_there, 4.0), (size, 0.6), (bigger, 0.6), (biggest, 0.3), (only, 0.5), (absent, 0.6),
        (missing_picture, 0.25), (how_many_pictures, 0.4), (chat, 0.5), (own_name, 0.5),
    ),
    back=((recall, 4.0), (which, 8.0), (compare, 5.0), (most, 0.7), (how_many_pictures, 0.8)),
    facts=(0.0, 0.15, 0.3, 0.5),
    turns=(7, 11),
    spread=True,
    begins=1.0,
    strangers=0.0,
)  # fmt: skip

DRILLS: dict[str, Drill] = {
    # What is seen in one picture.
    "look": Drill(
        pictures=(1, 1, 1, 2, 2),
        shows=((is_there, 3.0), (colour, 1.5), (place, 1.5), (share, 2.0), (only, 0.5)),
        about=(
            (is_there, 4.0), (colour, 3.0), (place, 1.5), (beside, 1.0), (count, 0.8), (shape, 0.5),
            (absent, 0.5), (only, 0.3),
        ),
        back=((which, 6.0), (compare, 2.0)),
        often=0.4,
        begins=0.0,
        spread=True,
    ),
    # Which picture had it, soon after they were shown.
    "which": Drill(
        pictures=(2, 2, 3, 3, 4),
        shows=(*_SHOWS, (colour, 0.4), (is_there, 0.4)),
        about=((is_there, 1.0), (colour, 0.8), (place, 1.5), (beside, 1.0), (count, 1.2)),
        back=(
            (which, 5.0), (compare, 3.0), (both, 0.7), (most, 0.4), (recall, 1.5),
            (how_many_pictures, 0.2), (missing_picture, 0.2),
        ),
        facts=(0.0, 0.0, 0.2),
    ),
    # What was told.
    "facts": Drill(
        pictures=(0, 0, 1),
        often=0.0,
        shows=((share, 1.0),),
        about=((is_there, 2.0), (colour, 1.0), (place, 1.0)),
        facts=(0.85,),
        turns=(13, 13),
        spread=True,
        begins=0.5,
        strangers=0.8,
    ),
    # Where things stand, and how many there are.
    "where": Drill(
        pictures=(1, 1, 2, 2, 3),
        shows=((share, 1.0), (place, 1.0), (beside, 1.0), (count, 1.0), (describe, 1.0)),
        about=(
            (place, 4.0), (beside, 5.0), (count, 1.5), (absent, 0.7), (colour, 0.4), (shape, 0.4),
            (is_there, 0.5), (bigger, 0.4),
        ),
        back=((recall, 0.6), (which, 0.6)),
        often=0.2,
        spread=True,
    ),
    # One picture and another.
    "compare": Drill(
        pictures=(2, 3, 3, 4, 4),
        shows=(*_SHOWS, (bigger, 0.4)),
        about=((count, 2.0), (place, 0.7), (is_there, 0.7), (bigger, 0.5)),
        back=((compare, 6.0), (both, 3.0), (most, 1.2), (which, 2.0), (recall, 0.6), (chat, 0.4)),
        facts=(0.0, 0.0, 0.2),
    ),
    # Which is the bigger.
    "size": Drill(
        pictures=(1, 2, 3, 3, 4),
        shows=((share, 1.0), (describe, 1.0), (size, 1.5), (bigger, 1.5), (biggest, 0.7)),
        about=(
            (size, 3.0), (bigger, 6.0), (biggest, 1.5), (place, 0.7), (beside, 0.7), (count, 0.7),
            (is_there, 0.7), (absent, 0.5),
        ),
        back=((which, 1.0), (compare, 1.0), (recall, 0.3)),
        often=0.2,
        facts=(0.0, 0.0, 0.2),
        sized=0.9,
    ),
}  # fmt: skip
"""By name, as in `training.plan.Round.drills`."""


def talked(
    rng: np.random.Generator,
    drill: Drill = USUAL,
    looks: Looks | None = None,
    *,
    held_out: bool = False,
    draw: bool = True,
    n_pictures: int | None = None,
) -> Dialogue:
    """A random dialogue.

    Parameters
    ----------
    rng : numpy.random.Generator
    drill : Drill
    looks : Looks, optional
        What its pictures look like.
    held_out : bool
        Whether told names and words are ones that training never tells.
    draw : bool
        Whether to draw the pictures; otherwise each is black.
    n_pictures : int, optional
        At random if not given.
    """
    random = Random(int(rng.integers(2**62)))
    talk = Talk(random, held_out=held_out, draw=draw, strangers=drill.strangers, sized=drill.sized,
                looks=looks)  # fmt: skip
    if random.random() < drill.begins:
        begin(talk)
    n = random.choice(drill.pictures) if n_pictures is None else n_pictures
    turns = max(random.randint(*drill.turns), n + 1)
    # So early that all are asked about.
    latest = max(n, round(0.65 * turns)) if drill.spread else n
    facts = random.choice(drill.facts)
    showing = sorted(random.sample(range(latest), n))
    if showing and not facts:
        showing[0] = 0
    for turn in range(turns):
        if len(talk.views) < n and turn >= showing[len(talk.views)]:
            _show(talk, drill, n)
        elif not talk.views and random.random() < 0.04:
            missing_picture(talk)
        elif not talk.views or random.random() < facts:
            _one_of(talk, _FACTS)
        elif len(talk.views) > 1 and random.random() < drill.often:
            _one_of(talk, drill.back)
        else:
            _one_of(talk, drill.about)
    return talk.dialogue


def _show(talk: Talk, drill: Drill, n: int) -> None:
    turns, weights = zip(*drill.shows, strict=True)
    while True:
        turn = talk.rng.choices(turns, weights)[0]
        if turn is not pair or len(talk.views) + 2 <= n:
            _NEW.get(turn, turn)(talk)
            return


def _one_of(talk: Talk, choices: Weighted) -> None:
    turns, weights = zip(*choices, strict=True)
    while not talk.rng.choices(turns, weights)[0](talk):
        pass
