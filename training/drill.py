"""Dialogues that are all questions about pictures.

What must compare a question with a picture (is there an X, which colour has the X) is learnt late
in usual dialogues, where it is asked once or twice; here it is asked a dozen times.
"""

from __future__ import annotations

import random

import numpy as np

from training.dialogues import Dialogue
from training.dialogues.several import compare, recall, which
from training.dialogues.single import (
    colour,
    count,
    is_there,
    place,
    relation,
    shape,
    share,
)
from training.dialogues.talk import Talk

_ONE = ((is_there, 4.0), (colour, 3.0), (place, 1.5), (relation, 1.0), (count, 0.7), (shape, 0.3))
_TWO = (*_ONE, (which, 6.0), (compare, 2.0))
# Which picture, where in it, how many: learnt later still than whether and which colour.
_HARDEST = ((place, 3.0), (relation, 3.0), (count, 2.0), (is_there, 1.0), (colour, 0.5))
_SEVERAL = (*_HARDEST, (which, 6.0), (compare, 4.0), (recall, 2.0))


def drill(rng: np.random.Generator, *, several: bool = False) -> Dialogue:
    """A random dialogue of a dozen questions.

    Parameters
    ----------
    rng : numpy.random.Generator
    several : bool
        About two to four pictures, and what is hardest; otherwise about one or two.
    """
    talk = Talk(random.Random(int(rng.integers(2**62))), held_out=False, draw=True)
    showing = _several(talk.rng) if several else _one_or_two(talk.rng)
    for turn in range(13):
        if turn in showing:
            (share if talk.rng.random() < 0.3 else _shows)(talk)
            continue
        if several:
            choices = _HARDEST if len(talk.views) == 1 else _SEVERAL
        else:
            choices = _ONE if len(talk.views) == 1 else _TWO
        turns, weights = zip(*choices, strict=True)
        while not talk.rng.choices(turns, weights)[0](talk):
            pass
    return talk.dialogue


def _one_or_two(rng: random.Random) -> tuple[int, ...]:
    """Turns that show a picture."""
    return (0, rng.randrange(3, 6)) if rng.random() < 0.4 else (0,)


def _several(rng: random.Random) -> tuple[int, ...]:
    return (0, *rng.sample(range(1, 8), rng.randint(1, 3)))


def _shows(talk: Talk) -> bool:
    return talk.rng.choice((is_there, is_there, colour, place))(talk, shows=True)
