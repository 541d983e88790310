"""Pictures inside the axes of a plot."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from llmagic.demo.picture import arrange
from llmagic.demo.plot import plotted


def pixels(image: Image.Image) -> npt.NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


@pytest.mark.parametrize("seed", range(20))
def test_the_shapes_are_where_the_scene_says(seed: int) -> None:
    rng = random.Random(seed)
    kinds = [("red", "square", None), ("blue", "circle", "big")][: 1 + seed % 2]
    scene, image = plotted(arrange(kinds, rng, size=(128, 96)), rng)
    assert image.size == (scene.width, scene.height) == (128, 96)
    drawn = pixels(image)
    for item in scene.objects:
        assert item.rgb is not None
        alike = np.abs(drawn - item.rgb).sum(2) < 40
        rows, columns = np.nonzero(alike)
        assert abs(columns.mean() - item.x) < 1.5
        assert abs(rows.mean() - item.y) < 1.5
        assert abs(np.ptp(columns) + 1 - 0.9 * item.size) < 0.15 * item.size + 2


def test_there_is_something_around_the_shapes() -> None:
    scene = arrange([("red", "square", None)], random.Random(1))
    for seed in range(20):
        _, image = plotted(scene, random.Random(seed))
        ink = (pixels(image).max(2) - pixels(image).min(2) < 30) & (pixels(image).max(2) < 200)
        assert ink.sum() > 50
