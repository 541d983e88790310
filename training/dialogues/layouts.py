"""Pictures whose shapes stand anywhere.

The other pictures are rows, columns and squares that fill a canvas (`arrange` in
`llmagic.demo.picture`); here shapes are of any size and at any place, on any plain ground. They are
described in reading order, so only such places are taken whose order nobody would argue about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from random import Random

from llmagic.demo.picture import BACKGROUNDS, GROUNDS, Object, Rgb, Scene, shade
from training.dialogues.scenes import SIZES, TOKENS, Kind
from training.preprocess import CELL, fitted, framed

Point = tuple[float, float]

DARK: tuple[Rgb, ...] = (
    (170, 170, 170), (145, 140, 135), (110, 110, 110), (70, 70, 75), (30, 30, 30), (0, 0, 0),
    (60, 70, 100), (90, 60, 50), (40, 80, 60), (150, 170, 200), (200, 180, 140),
)  # fmt: skip

LEAST = 10
"""Pixels of the smallest shape in what the vision tower sees."""

_LARGEST = (0.92, 0.6, 0.45, 0.4)
"""Diameter of the largest shape by how many there are, as a fraction of the shorter side."""


def anywhere(rng: Random, kinds: Sequence[Kind], sized: float = 0.4) -> Scene:
    """A scene with these kinds at random places; its shapes are in reading order.

    Parameters
    ----------
    rng : random.Random
    kinds : sequence of (colour, shape)
        One to four.
    sized : float
        Fraction of the scenes with small and large shapes.
    """
    while True:
        if rng.random() < 0.4:
            width, height = rng.choice((*SIZES, (160, 96), (96, 160)))
        else:
            side, ratio = rng.uniform(110, 330), 16 / 9
            ratio = math.exp(rng.uniform(-math.log(ratio), math.log(ratio)))
            width, height = round(side * math.sqrt(ratio)), round(side / math.sqrt(ratio))
        sizes = [one * min(width, height) for one in _sizes(rng, len(kinds), sized)]
        places = [(x * width, y * height) for x, y in _places(rng, len(kinds))]
        shades = [shade(colour, rng) for colour, _ in kinds]
        ground = _ground(rng)
        if any(math.dist(ground, one) < 95 for one in shades):
            continue
        objects = [
            Object(
                *kind, round(x, 1), round(y, 1), round(size, 1), rgb, round(rng.uniform(-12, 12))
            )
            for kind, (x, y), size, rgb in zip(kinds, places, sizes, shades, strict=True)
        ]
        order = reading_order([(item.x / width, item.y / height) for item in objects])
        scene = Scene(width, height, ground, tuple(objects[i] for i in order))
        if order and _fits(scene):
            return scene


def reading_order(points: Sequence[Point]) -> list[int]:
    """In which order shapes are named, none if people might differ.

    A row from the left, a column from the top, and otherwise row by row.

    Parameters
    ----------
    points : sequence of (x, y)
        Centres, as fractions of the picture's width and height.
    """
    xs, ys = [x for x, _ in points], [y for _, y in points]
    across, down = max(xs) - min(xs), max(ys) - min(ys)
    n = len(points)
    flat = {1: 1.0, 2: 0.75, 3: 0.4}.get(n, 0.3)
    for values, long, short in ((xs, across, down), (ys, down, across)):
        order = sorted(range(n), key=values.__getitem__)
        gaps = [values[j] - values[i] for i, j in pairwise(order)]
        if short <= flat * long and all(gap >= 0.15 * long for gap in gaps):
            return order
    # Neither a row nor several.
    if down < 1.3 * flat * across:
        return []
    rows: list[list[int]] = []
    for i in sorted(range(len(points)), key=ys.__getitem__):
        if not rows or ys[i] - ys[rows[-1][-1]] > 0.2 * down:
            rows.append([])
        rows[-1].append(i)
    for one, two in pairwise(rows):
        if ys[two[0]] - ys[one[-1]] < 0.3 * down:
            return []
    for row in rows:
        row.sort(key=xs.__getitem__)
        if max(ys[i] for i in row) - min(ys[i] for i in row) > 0.2 * down:
            return []
        if any(xs[j] - xs[i] < 0.15 * across for i, j in pairwise(row)):
            return []
    return [i for row in rows for i in row]


def _sizes(rng: Random, n: int, sized: float) -> list[float]:
    """Diameters, as fractions of the shorter side."""
    base = math.exp(rng.uniform(math.log(0.12), math.log(_LARGEST[n - 1])))
    draw = rng.random()
    if draw < sized:
        return [base * rng.choice((rng.uniform(0.55, 0.65), rng.uniform(0.95, 1.05)))
                for _ in range(n)]  # fmt: skip
    spread = 1.08 if draw < sized + (1 - sized) * 0.6 else 1.6
    return [base * spread ** rng.uniform(-1, 1) for _ in range(n)]


def _places(rng: Random, n: int) -> list[Point]:
    """Centres, as fractions of width and height."""
    draw = rng.random()
    if draw < 0.3 and n > 1:
        return _line(rng, n)
    if draw < 0.5 and n > 2:
        return _rows(rng, n)
    across, down = (rng.uniform(0.4, 1.0), rng.uniform(0.4, 1.0)) if draw < 0.7 else (1.0, 1.0)
    left, top = rng.uniform(0, 1 - across), rng.uniform(0, 1 - down)
    return [(left + rng.random() * across, top + rng.random() * down) for _ in range(n)]


def _line(rng: Random, n: int) -> list[Point]:
    """At equal distances, in a row or in a column."""
    step = rng.uniform(0.5, 1.0) / n
    first = rng.uniform(0.5 * step, 1 - (n - 0.5) * step)
    rest = rng.choice((0.5, rng.uniform(0.15, 0.85)))
    jitter = rng.choice((0.0, 0.03))
    points = [
        (first + i * step + rng.uniform(-jitter, jitter), rest + rng.uniform(-jitter, jitter))
        for i in range(n)
    ]
    return points if rng.random() < 0.6 else [(y, x) for x, y in points]


def _rows(rng: Random, n: int) -> list[Point]:
    """Rows of unequal length, each in the middle, or spread from side to side."""
    rows = rng.choice(((1, 2), (2, 1)) if n == 3 else ((2, 2), (2, 2), (1, 3), (3, 1), (1, 2, 1)))
    across, down = rng.uniform(0.45, 0.8), rng.uniform(0.4, 0.7)
    middle, top = rng.uniform(0.42, 0.58), rng.uniform(0.42, 0.58) - down / 2
    points = []
    for number, length in enumerate(rows):
        y = top + down * number / (len(rows) - 1)
        for i in range(length):
            x = middle + across * (i / (length - 1) - 0.5 if length > 1 else 0.0)
            points.append((x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03)))
    return points


def _ground(rng: Random) -> Rgb:
    draw = rng.random()
    if draw < 0.45:
        return BACKGROUNDS[0]
    if draw > 0.85:
        return rng.randrange(256), rng.randrange(256), rng.randrange(256)
    return rng.choice((*BACKGROUNDS, *GROUNDS) if draw < 0.65 else DARK)


def _fits(scene: Scene) -> bool:
    """Whether no shape is cut, touches another, is too small, or is in another's cell."""
    objects = scene.objects
    for i, one in enumerate(objects):
        edge = 0.53 * one.size
        if not (edge <= one.x <= scene.width - edge and edge <= one.y <= scene.height - edge):
            return False
        for two in objects[:i]:
            if math.dist((one.x, one.y), (two.x, two.y)) < 0.58 * (one.size + two.size):
                return False
    _, _, wide, _ = fitted(scene.width, scene.height, TOKENS)
    if min(one.size for one in objects) * wide / scene.width < LEAST:
        return False
    cells = {(int(one.x / CELL), int(one.y / CELL)) for one in framed(scene, TOKENS).objects}
    return len(cells) == len(objects)
