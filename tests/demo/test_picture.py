"""Pictures as the demo model was trained on them."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

import llmagic.demo
from llmagic.demo.picture import COLOURS, SHAPES, Scene, arrange, picture, reshaped


def test_what_is_asked_for_is_what_is_drawn() -> None:
    drawn = np.asarray(picture("red square", "blue circle"))
    assert drawn.shape == (192, 192, 3)
    left, right = drawn[:, :96].reshape(-1, 3), drawn[:, 96:].reshape(-1, 3)
    red, blue = left[left.sum(1) < 500].mean(0), right[right.sum(1) < 500].mean(0)
    assert red[0] > 150 > red[2]
    assert blue[2] > 150 > blue[0]


def test_a_column_goes_down() -> None:
    drawn = np.asarray(picture("black square", "yellow circle", size=(120, 90), column=True))
    assert drawn.shape == (90, 120, 3)
    dark = drawn.sum(2) < 200
    assert dark[:45].any()
    assert not dark[45:].any()


def test_the_same_seed_is_the_same_picture() -> None:
    assert picture("pink heart", seed=3).tobytes() == picture("pink heart", seed=3).tobytes()
    assert picture("pink heart", seed=3).tobytes() != picture("pink heart", seed=4).tobytes()


def test_every_kind_looks_different() -> None:
    drawn = {picture(f"{colour} {shape}").tobytes() for colour in COLOURS for shape in SHAPES}
    assert len(drawn) == len(COLOURS) * len(SHAPES)


def test_small_and_big_differ_in_size() -> None:
    def ink(text: str) -> int:
        return int((np.asarray(picture(text)).sum(2) < 600).sum())

    assert ink("a small black star") * 2 < ink("a big black star")


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("column", [False, True])
def test_shapes_may_touch_and_hide_nothing(n: int, column: bool) -> None:
    for seed in range(200):
        rng = random.Random(seed)
        scene = arrange([("red", "circle", "big")] * n, rng, size=(96, 96), column=column)
        for one, two in itertools.combinations(scene.objects, 2):
            apart = ((one.x - two.x) ** 2 + (one.y - two.y) ** 2) ** 0.5
            assert apart > (one.size + two.size) / 2 * 0.75
        for item in scene.objects:
            reach = item.size / 2 * 0.95
            assert reach - 4 < item.x < 100 - reach
            assert reach - 4 < item.y < 100 - reach


@pytest.mark.parametrize(
    "shapes",
    [(), ("red star",) * 5, ("star",), ("red hexagon",), ("red blue star",), ("red star!",)],
)
def test_what_it_does_not_know_is_refused(shapes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"one to four|no shape the demo model knows"):
        picture(*shapes)


@pytest.mark.parametrize("size", [(0, 0), (192, 8), (-3, 192)])
def test_nothing_is_drawn_where_there_is_no_room(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"16 pixels or more, and got"):
        picture("red star", size=size)


def test_it_is_the_packages() -> None:
    assert llmagic.demo.picture is picture
    assert (llmagic.demo.COLOURS, llmagic.demo.SHAPES) == (COLOURS, SHAPES)


def random_scene(seed: int, n: int, *, column: bool) -> Scene:
    rng = random.Random(seed)
    kinds = [(rng.choice(COLOURS), shape, rng.choice(("small", "big"))) for shape in SHAPES[:n]]
    size = rng.choice(((96, 96), (128, 96), (96, 128)))
    return arrange(kinds, rng, size=size, column=column)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("column", [False, True])
def test_on_another_canvas_the_shapes_stand_as_before(n: int, column: bool) -> None:
    ratios, lengths, grounds = [], [], set()
    for seed in range(200):
        scene = random_scene(seed, n, column=column)
        other = reshaped(scene, random.Random(seed))
        ratios.append(other.width / other.height)
        lengths.append((other.width * other.height) ** 0.5)
        grounds.add(other.background)
        for old, new in zip(scene.objects, other.objects, strict=True):
            assert (old.name, old.rgb, old.angle) == (new.name, new.rgb, new.angle)
            assert new.x / other.width == pytest.approx(old.x / scene.width, abs=0.01)
            assert new.y / other.height == pytest.approx(old.y / scene.height, abs=0.01)
            # Inside, but for a tip.
            reach = new.size / 2 * 0.8
            assert reach < new.x < other.width - reach
            assert reach < new.y < other.height - reach
        for one, two in itertools.combinations(range(n), 2):
            a, b = other.objects[one], other.objects[two]
            old = scene.objects[one].size / scene.objects[two].size
            assert a.size / b.size == pytest.approx(old)
            assert ((a.x - b.x) ** 2 + (a.y - b.y) ** 2) ** 0.5 > (a.size + b.size) / 2 * 0.75
    narrow, wide = (
        (0.65 if n == 3 and not column else 9 / 16),
        (1 / 0.65 if n == 3 and column else 16 / 9),
    )
    assert narrow - 0.02 < min(ratios) < narrow * 1.1
    assert wide / 1.1 < max(ratios) < wide + 0.02
    assert 123 < min(lengths) < 140
    assert 300 < max(lengths) < 322
    assert len(grounds) > 3


def test_the_same_seed_is_the_same_canvas() -> None:
    scene = random_scene(0, 2, column=False)
    assert reshaped(scene, random.Random(1)) == reshaped(scene, random.Random(1))
    assert reshaped(scene, random.Random(1)) != reshaped(scene, random.Random(2))
