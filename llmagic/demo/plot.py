"""Pictures as a plotting library would save them: the same shapes, inside axes.

Training has some of them, so that the model knows that lines, ticks and numbers around a picture
are not shapes; `python -m llmagic.demo.evaluate --plots` asks how well.
"""

from __future__ import annotations

import random
from dataclasses import replace

from PIL import Image, ImageDraw, ImageFont

from llmagic.demo.picture import Rgb, Scene

_FINE = 4
"""How many times larger a plot is drawn before it is made small: its lines are thin."""

_TITLES = ("Figure 1", "shapes", "plot", "Data", "a picture", "x and y", "scatter", "run 3")


def plotted(scene: Scene, rng: random.Random) -> tuple[Scene, Image.Image]:
    """A scene inside the axes of a plot, with ticks, numbers and at times a title and a grid.

    Parameters
    ----------
    scene : Scene
    rng : random.Random
        Says how wide the margins are, and what the axes have.

    Returns
    -------
    (Scene, PIL.Image.Image)
        Where the shapes are now, and the picture, of the scene's size and mode RGB.
    """
    width, height = scene.width * _FINE, scene.height * _FINE
    left, top = rng.uniform(0.06, 0.15) * width, rng.uniform(0.02, 0.13) * height
    right = width - rng.uniform(0.02, 0.10) * width
    bottom = height - rng.uniform(0.06, 0.13) * height
    fine = _moved(scene, left / width, top / height, right / width, bottom / height, _FINE)
    image = Image.new("RGB", (width, height), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    box = (round(left), round(top), round(right), round(bottom))
    draw.rectangle(box, fill=scene.background)
    _axes(draw, box, rng)
    fine.paint(image)
    return (
        _moved(scene, left / width, top / height, right / width, bottom / height, 1),
        image.reduce(_FINE),
    )


def _moved(
    scene: Scene, left: float, top: float, right: float, bottom: float, factor: float
) -> Scene:
    """The shapes in a part of the picture (fractions of it), all of it so many times larger."""
    across, down = (right - left) * factor, (bottom - top) * factor
    return Scene(
        round(scene.width * factor),
        round(scene.height * factor),
        scene.background,
        tuple(
            replace(
                item,
                x=left * scene.width * factor + item.x * across,
                y=top * scene.height * factor + item.y * down,
                size=item.size * min(across, down),
            )
            for item in scene.objects
        ),
    )


def _axes(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], rng: random.Random) -> None:
    """Grid, frame, ticks, numbers and title around a box of pixels."""
    left, top, right, bottom = box
    ink: Rgb = rng.choice(((0, 0, 0), (0, 0, 0), (60, 60, 60)))
    line, tick = rng.choice((1, 1, 2)), rng.choice((0, 3, 4))
    font = ImageFont.load_default(rng.uniform(0.025, 0.045) * (bottom - top + right - left))
    grid, numbers = rng.random() < 0.3, rng.random() < 0.9
    step = rng.choice((1, 2, 5, 10, 0.2, 0.5))
    for at in _ticks(left, right, rng):
        if grid:
            draw.line((at, top, at, bottom), fill=(200, 200, 200), width=line)
        draw.line((at, bottom, at, bottom + tick), fill=ink, width=line)
        if numbers:
            text = f"{step * rng.randint(0, 9):g}"
            draw.text((at, bottom + tick + 1), text, fill=ink, font=font, anchor="mt")
    for at in _ticks(top, bottom, rng):
        if grid:
            draw.line((left, at, right, at), fill=(200, 200, 200), width=line)
        draw.line((left - tick, at, left, at), fill=ink, width=line)
        if numbers:
            text = f"{step * rng.randint(0, 9):g}"
            draw.text((left - tick - 2, at), text, fill=ink, font=font, anchor="rm")
    if rng.random() < 0.3:
        draw.text(((left + right) / 2, top - 2), rng.choice(_TITLES), fill=ink, font=font,
                  anchor="mb")  # fmt: skip
    if rng.random() < 0.75:
        draw.rectangle(box, outline=ink, width=line)
    else:
        draw.line((left, top, left, bottom, right, bottom), fill=ink, width=line)


def _ticks(start: float, stop: float, rng: random.Random) -> list[float]:
    """Evenly spaced places between two, as an axis has them."""
    n = rng.randint(3, 9)
    first = rng.uniform(0, 0.8 / n)
    return [start + (first + i / n) * (stop - start) for i in range(n)]
