"""Dialogues that are all questions about one or two pictures.

What must compare a question with a picture (is there an X, which colour has the X) is learnt late
in usual dialogues, where it is asked once or twice; here it is asked a dozen times.
"""

from __future__ import annotations

import random

import numpy as np

from training.dialogues import Dialogue
from training.dialogues.several import compare, which
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


def drill(rng: np.random.Generator) -> Dialogue:
    """A random dialogue of a dozen questions about one or two pictures."""
    talk = Talk(random.Random(int(rng.integers(2**62))), held_out=False, draw=True)
    second = talk.rng.randrange(3, 6) if talk.rng.random() < 0.4 else None
    for turn in range(13):
        if turn in (0, second):
            (share if talk.rng.random() < 0.3 else _shows)(talk)
            continue
        turns, weights = zip(*(_ONE if len(talk.views) == 1 else _TWO), strict=True)
        while not talk.rng.choices(turns, weights)[0](talk):
            pass
    return talk.dialogue


def _shows(talk: Talk) -> bool:
    return talk.rng.choice((is_there, is_there, colour, place))(talk, shows=True)
