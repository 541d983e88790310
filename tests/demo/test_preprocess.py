"""Where the shapes of a picture are when llama.cpp has brought it to the size it encodes."""

from __future__ import annotations

import random

import numpy as np
import pytest

from llmagic.demo.picture import Object, Scene, reshaped
from training.dialogues.scenes import TOKENS, kinds
from training.preprocess import CELL, framed, prepared


@pytest.mark.parametrize(
    "size", [(96, 96), (300, 270), (300, 187), (320, 180), (180, 320), (64, 40), (700, 500)]
)
def test_the_shapes_are_where_the_scene_says(size: tuple[int, int]) -> None:
    width, height = size
    unit = min(size)
    scene = Scene(
        width,
        height,
        (255, 255, 255),
        (
            Object("red", "square", 0.3 * width, 0.35 * height, 0.3 * unit, (230, 25, 30)),
            Object("blue", "circle", 0.75 * width, 0.7 * height, 0.25 * unit, (30, 80, 220)),
        ),
    )
    drawn, told = prepared(scene.array(), TOKENS), framed(scene, TOKENS)
    assert drawn.shape == (told.height, told.width, 3)
    assert told.height % CELL == told.width % CELL == 0
    assert told.height * told.width <= TOKENS * CELL**2
    for item in told.objects:
        assert item.rgb is not None
        rows, columns = np.nonzero(np.abs(drawn.astype(int) - item.rgb).sum(2) < 60)
        assert abs(columns.mean() + 0.5 - item.x) < 1
        assert abs(rows.mean() + 0.5 - item.y) < 1
        assert abs(np.ptp(columns) + 1 - 0.9 * item.size) < 0.1 * item.size + 2


def test_each_shape_of_a_reshaped_scene_has_a_cell_of_its_own() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        objects = tuple(
            Object("red", shape, x, 48, 30) for shape, x in (("star", 20), ("heart", 75))
        )
        told = framed(reshaped(Scene(96, 96, (255, 255, 255), objects), rng), TOKENS)
        cells = kinds(told, told.height // CELL, told.width // CELL)
        assert (cells >= 0).sum() == 2
