"""What llama.cpp makes of a picture before its vision tower sees it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from llmagic.demo.picture import Scene

CELL = 32
"""Pixels that become one token, each way: a patch of 16, merged two by two."""

FEWEST, MOST = 8, 4096
"""Tokens of a picture (clip.cpp, QWEN3VL); llmagic lowers the second for the demo model."""


def target(width: int, height: int, most: int = MOST) -> tuple[int, int]:
    """Width and height a picture is brought to: multiples of `CELL`, of some tokens.

    As ``calc_size_preserved_ratio`` of llama.cpp's ``tools/mtmd/mtmd-image.cpp``.

    Parameters
    ----------
    width, height : int
        In pixels.
    most : int
        Tokens.
    """
    sides = [max(CELL, _round(side / CELL) * CELL) for side in (width, height)]
    if math.prod(sides) > most * CELL**2:
        scale = math.sqrt(width * height / (most * CELL**2))
        sides = [max(CELL, math.floor(side / scale / CELL) * CELL) for side in (width, height)]
    elif math.prod(sides) < FEWEST * CELL**2:
        scale = math.sqrt(FEWEST * CELL**2 / (width * height))
        sides = [math.ceil(side * scale / CELL) * CELL for side in (width, height)]
    return sides[0], sides[1]


def prepared(pixels: npt.NDArray[np.uint8], most: int = MOST) -> npt.NDArray[np.uint8]:
    """A picture as the vision tower gets it: resized (bicubic, aspect kept), black around it.

    Parameters
    ----------
    pixels : (height, width, 3) uint8
    most : int
        Tokens it may become.
    """
    height, width, _ = pixels.shape
    wide, high = target(width, height, most)
    if (wide, high) == (width, height):
        return pixels
    left, top, *new = fitted(width, height, most)
    canvas = Image.new("RGB", (wide, high))
    resized = Image.fromarray(pixels).resize((new[0], new[1]), Image.Resampling.BICUBIC)
    canvas.paste(resized, (left, top))
    return np.asarray(canvas)


def fitted(width: int, height: int, most: int = MOST) -> tuple[int, int, int, int]:
    """Where a picture is put inside `target`: left, top, width and height, in pixels."""
    wide, high = target(width, height, most)
    scale = min(np.float32(wide) / np.float32(width), np.float32(high) / np.float32(height))
    new_width = min(math.ceil(np.float32(width) * scale), wide)
    new_height = min(math.ceil(np.float32(height) * scale), high)
    return (wide - new_width) // 2, (high - new_height) // 2, new_width, new_height


def framed(scene: Scene, most: int = MOST) -> Scene:
    """Where the shapes of a scene are in what `prepared` makes of it."""
    wide, high = target(scene.width, scene.height, most)
    left, top, width, height = fitted(scene.width, scene.height, most)
    across, down = width / scene.width, height / scene.height
    return Scene(
        wide,
        high,
        scene.background,
        tuple(
            replace(
                item,
                x=left + item.x * across,
                y=top + item.y * down,
                size=item.size * min(across, down),
            )
            for item in scene.objects
        ),
    )


def _round(value: float) -> int:
    """Halves away from zero, as C's."""
    return math.floor(value + 0.5)
