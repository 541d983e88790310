"""What is asked in a dialogue, and how often."""

from __future__ import annotations

import random
from collections.abc import Callable

from training.dialogues.chat import ask_fact, begin, chat, tell_fact
from training.dialogues.several import compare, how_many_pictures, missing_picture, recall, which
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

Turn = Callable[[Talk], bool]

_WITH_NEW: tuple[tuple[Callable[..., bool], float], ...] = (
    (describe, 2), (colour, 1.5), (shape, 0.8), (count, 1.5), (place, 1.5), (relation, 1),
    (is_there, 3), (size, 0.4),
)  # fmt: skip
_ABOUT_ONE: tuple[tuple[Turn, float], ...] = (
    (describe, 0.4), (colour, 1.6), (shape, 1), (count, 1.7), (place, 1.7), (relation, 1.5),
    (is_there, 4), (size, 0.8), (missing_picture, 0.25), (how_many_pictures, 0.4),
)  # fmt: skip
_ABOUT_SEVERAL: tuple[tuple[Turn, float], ...] = (
    (recall, 3), (which, 6), (compare, 4), (how_many_pictures, 0.6),
)  # fmt: skip
_FACTS: tuple[tuple[Turn, float], ...] = ((tell_fact, 1.2), (ask_fact, 1.5), (chat, 0.8))


def _draw(
    rng: random.Random, choices: tuple[tuple[Callable[..., bool], float], ...]
) -> Callable[..., bool]:
    return rng.choices([one for one, _ in choices], [weight for _, weight in choices])[0]


def talk_through(talk: Talk, n_pictures: int | None = None) -> None:
    """Say a whole dialogue, with so many pictures (at random if not given)."""
    rng = talk.rng
    if n_pictures is None:
        n_pictures = rng.choices(range(5), (0.12, 0.15, 0.21, 0.26, 0.26))[0]
    begin(talk)
    n_turns = rng.randint(5, 8) + n_pictures
    # Pictures come in the first two thirds, so that all are asked about.
    latest = max(n_pictures, round(0.65 * n_turns))
    showing = set(rng.sample(range(latest), n_pictures))
    facts = 1.0 if n_pictures == 0 else rng.choice((0.0, 0.15, 0.3, 0.5))
    for i in range(n_turns):
        if i in showing:
            _draw(rng, ((share, 1.0), (lambda talk: _draw(rng, _WITH_NEW)(talk, shows=True), 1.0)))(
                talk
            )
            continue
        while not _turn(talk, facts):
            pass


def _turn(talk: Talk, facts: float) -> bool:
    rng = talk.rng
    if not talk.views:
        return missing_picture(talk) if rng.random() < 0.04 else _draw(rng, _FACTS)(talk)
    if rng.random() < facts:
        return _draw(rng, _FACTS)(talk)
    several = len(talk.views) > 1 and rng.random() < 0.6
    return _draw(rng, _ABOUT_SEVERAL if several else _ABOUT_ONE)(talk)
