"""Random pictures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from llmagic.demo.picture import BACKGROUNDS, COLOURS, SHAPES, Scene, arrange

Kind = tuple[str, str]
"""A colour and a shape."""

SIZES = ((96, 96),) * 6 + ((128, 96), (96, 128))
"""Sizes llama.cpp encodes: multiples of 32, at most twelve tokens."""

TOKENS = 15
"""Most tokens of a picture: those of other sizes become up to 160 x 96 or 96 x 160 pixels."""


def random_kinds(rng: random.Random, n: int, earlier: Sequence[Kind] = ()) -> list[Kind]:
    """Different kinds for a picture; now and then one from an earlier picture, or related ones."""
    kinds: list[Kind] = []
    while len(kinds) < n:
        kind = (rng.choice(COLOURS), rng.choice(SHAPES))
        if earlier and rng.random() < 0.25:
            seen = rng.choice(earlier)
            # The same again, or with one of its two features: what a careless look mixes up.
            kind = rng.choice((seen, (seen[0], kind[1]), (kind[0], seen[1])))
        if kinds and rng.random() < 0.15:
            kind = rng.choice(((kinds[0][0], kind[1]), (kind[0], kinds[0][1])))
        if kind not in kinds:
            kinds.append(kind)
    return kinds


def arranged(rng: random.Random, kinds: Sequence[Kind], sized: float = 0.4) -> Scene:
    """A scene with these kinds in a row, a column or a square, of a size of `SIZES`."""
    column = len(kinds) in (2, 3) and rng.random() < 0.5
    differ = rng.random() < sized
    objects = [(*kind, rng.choice(("small", "big")) if differ else None) for kind in kinds]
    return arrange(
        objects,
        rng,
        size=rng.choice(SIZES),
        column=column,
        background=rng.choice(BACKGROUNDS) if rng.random() < 0.5 else BACKGROUNDS[0],
    )


def pixels(scene: Scene, rng: random.Random) -> npt.NDArray[np.uint8]:
    """The scene as pixels; some as if drawn at another size and resized."""
    if rng.random() < 0.75:
        return scene.array()
    factor = rng.uniform(1.2, 2.8)
    larger = scaled(scene, factor).image()
    return np.asarray(larger.resize((scene.width, scene.height), Image.Resampling.BICUBIC))


def scaled(scene: Scene, factor: float) -> Scene:
    """The same picture, larger."""
    return Scene(
        round(scene.width * factor),
        round(scene.height * factor),
        scene.background,
        tuple(
            replace(item, x=item.x * factor, y=item.y * factor, size=item.size * factor)
            for item in scene.objects
        ),
    )


def kinds(scene: Scene, rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Which kind has its centre in each cell of a grid: colour * 6 + shape, or -1 for none."""
    grid = np.full((rows, columns), -1, np.int64)
    for item in scene.objects:
        row = min(rows - 1, int(item.y * rows / scene.height))
        column = min(columns - 1, int(item.x * columns / scene.width))
        grid[row, column] = COLOURS.index(item.colour) * len(SHAPES) + SHAPES.index(item.shape)
    return grid
