"""Pictures as the demo model was trained on them."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

import llmagic.demo
from llmagic.demo.picture import COLOURS, SHAPES, arrange, picture


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


def test_it_is_the_packages() -> None:
    assert llmagic.demo.picture is picture
