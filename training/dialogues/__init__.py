"""Dialogues about pictures and told facts, made from random numbers.

`dialogue` makes one, `scene` a picture. What they are about and how they are worded is in the
modules of this folder; `turns` says what is asked.
"""

from __future__ import annotations

import random

import numpy as np

from llmagic.demo.picture import Scene
from training.dialogues.scenes import CELL, kinds, pixels, random_scene
from training.dialogues.talk import NUMBERS, Dialogue, Message, Talk

__all__ = ["CELL", "NUMBERS", "Dialogue", "Message", "dialogue", "kinds", "pixels", "scene"]


def scene(rng: np.random.Generator) -> Scene:
    """A random picture of one to four shapes."""
    return random_scene(random.Random(int(rng.integers(2**62))))[0]


def dialogue(
    rng: np.random.Generator,
    *,
    held_out: bool = False,
    draw: bool = True,
    n_pictures: int | None = None,
) -> Dialogue:
    """A random dialogue of about ten turns.

    Parameters
    ----------
    rng : numpy.random.Generator
    held_out : bool
        Whether told names and words are ones that training never tells.
    draw : bool
        Whether to draw the pictures; otherwise each is a 1 x 1 pixel.
    n_pictures : int, optional
        None to four; at random if not given.
    """
    from training.dialogues.turns import talk_through

    talk = Talk(random.Random(int(rng.integers(2**62))), held_out=held_out, draw=draw)
    talk_through(talk, n_pictures)
    return talk.dialogue
