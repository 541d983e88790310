"""Pictures the demo model understands: a few coloured shapes on a plain background.

The training data, the evaluation, the notebooks and the tests are drawn by this module, so what
they show is the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]

_PAINT: dict[str, tuple[Rgb, ...]] = {
    # The web's colour of the name, then what plotting libraries call by it.
    "red": ((230, 25, 30), (214, 39, 40), (255, 0, 0)),
    "orange": ((255, 140, 0), (255, 127, 14), (255, 165, 0)),
    "yellow": ((250, 220, 20), (255, 255, 0), (240, 200, 0)),
    "green": ((30, 150, 50), (44, 160, 44), (0, 128, 0)),
    "blue": ((30, 80, 220), (31, 119, 180), (0, 0, 255)),
    "purple": ((130, 40, 170), (148, 103, 189), (128, 0, 128)),
    "pink": ((250, 120, 190), (227, 119, 194), (255, 150, 200)),
    "black": ((20, 20, 20), (0, 0, 0), (45, 45, 45)),
}
COLOURS: tuple[str, ...] = tuple(_PAINT)
"""The eight colours the demo model knows."""

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross", "heart")
"""The six shapes the demo model knows."""

SIZES: tuple[str, ...] = ("small", "big")

BACKGROUNDS: tuple[Rgb, ...] = (
    (255, 255, 255),
    (245, 245, 240),
    (235, 238, 242),
    (255, 250, 230),
    (225, 225, 225),
)

GROUNDS: tuple[Rgb, ...] = (
    (255, 235, 235),
    (230, 245, 230),
    (225, 238, 250),
    (242, 232, 248),
    (238, 222, 200),
    (205, 210, 215),
    (185, 185, 185),
)
"""Other plain backgrounds, which pictures made by others have (`reshaped`)."""


@dataclass(frozen=True)
class Object:
    """One shape of a picture.

    Attributes
    ----------
    colour, shape : str
        From `COLOURS` and `SHAPES`.
    x, y : float
        Its centre, in pixels from the top left.
    size : float
        Its diameter, in pixels.
    rgb : tuple of int, optional
        The very shade; the colour's first one if not given.
    angle : float
        How far it is turned, in degrees.
    """

    colour: str
    shape: str
    x: float
    y: float
    size: float
    rgb: Rgb | None = None
    angle: float = 0.0

    @property
    def name(self) -> str:
        """What it is called: "red star"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """What is in a picture: its size in pixels, its background, its shapes in reading order."""

    width: int
    height: int
    background: Rgb
    objects: tuple[Object, ...]

    def image(self) -> Image.Image:
        """The picture, anti-aliased, of mode RGB."""
        image = Image.new("RGB", (self.width, self.height), self.background)
        self.paint(image)
        return image

    def paint(self, image: Image.Image) -> None:
        """Draw the shapes, anti-aliased, on a picture of mode RGB."""
        for item in self.objects:
            rgb = item.rgb or _PAINT[item.colour][0]
            mask = _mask(item.shape, max(4, round(item.size)), round(item.angle))
            corner = (round(item.x - mask.width / 2), round(item.y - mask.height / 2))
            image.paste(rgb, corner, mask)

    def array(self) -> npt.NDArray[np.uint8]:
        """The picture as pixels, H x W x 3."""
        return np.asarray(self.image())


_LEAST = 16
"""Pixels of the shorter side of a picture in which a shape can be drawn."""


def picture(
    *shapes: str, size: tuple[int, int] = (192, 192), column: bool = False, seed: int = 0
) -> Image.Image:
    """Draw a picture the demo model understands.

    Parameters
    ----------
    *shapes : str
        One to four, as "red star", "small blue circle" or "a big pink heart"; see `COLOURS`,
        `SHAPES` and `SIZES`. Two or three stand in a row, four in a square, in this order.
    size : tuple of int
        Width and height, in pixels. The model understands ratios from 9:16 to 16:9, but of three
        shapes along the shorter side from 10:16 to 16:10.
    column : bool
        Two or three shapes stand below one another instead.
    seed : int
        The same seed gives the same picture; another moves and shades the shapes a little.

    Returns
    -------
    PIL.Image.Image
        Of mode RGB.

    Raises
    ------
    ValueError
        A word that is no colour, shape or size, not one to four shapes, or a side below 16
        pixels.

    Examples
    --------
    >>> picture("red star", "small blue circle").size
    (192, 192)
    """
    if not 1 <= len(shapes) <= 4:
        raise ValueError(
            f"A picture has one to four shapes, but {len(shapes)} came. "
            'Write each as one text: picture("red star", "small blue circle").'
        )
    if min(size) < _LEAST:
        raise ValueError(
            f"expected a width and a height of {_LEAST} pixels or more, and got {size}"
        )
    kinds = [_parse(text) for text in shapes]
    return arrange(kinds, random.Random(seed), size=size, column=column).image()


def arrange(
    kinds: Sequence[tuple[str, str, str | None]],
    rng: random.Random,
    *,
    size: tuple[int, int] = (96, 96),
    column: bool = False,
    background: Rgb | None = None,
) -> Scene:
    """Place shapes, a little at random: a row or column of up to three, a square of four.

    Parameters
    ----------
    kinds : sequence of (colour, shape, size)
        In reading order; the size is "small", "big" or None.
    rng : random.Random
    size : tuple of int
        Width and height, in pixels.
    column : bool
        One below another.
    background : tuple of int, optional
        White if not given.
    """
    width, height = size
    columns, rows = _grid(len(kinds), column)
    cell_width, cell_height = width / columns, height / rows
    unit = min(cell_width, cell_height, 0.55 * min(width, height))
    # In a row there is room to move up and down, but not so far that it looks like a column.
    slack_x = min(0.10 * cell_width, 0.06 * width) if columns > 1 else 0.16 * width
    slack_y = min(0.10 * cell_height, 0.06 * height) if rows > 1 else 0.16 * height
    objects = []
    for i, (colour, shape, scale) in enumerate(kinds):
        share = {
            "small": rng.uniform(0.46, 0.54),
            "big": rng.uniform(0.86, 0.94),
            None: rng.uniform(0.66, 0.80),
        }[scale]
        objects.append(
            Object(
                colour,
                shape,
                round((i % columns + 0.5) * cell_width + rng.uniform(-slack_x, slack_x), 1),
                round((i // columns + 0.5) * cell_height + rng.uniform(-slack_y, slack_y), 1),
                round(share * unit, 1),
                shade(colour, rng),
                round(rng.uniform(-8, 8)),
            )
        )
    return Scene(width, height, background or BACKGROUNDS[0], tuple(objects))


def reshaped(scene: Scene, rng: random.Random) -> Scene:
    """The shapes of a scene on another canvas: as large and as wide as pictures of others are.

    Of 125 to 320 pixels (the root of the area) and any ratio from 9:16 to 16:9, but three shapes
    in a row are not put on a narrow canvas, nor three in a column on a wide one. Some have smaller
    shapes, some another ground.

    Parameters
    ----------
    scene : Scene
    rng : random.Random

    Returns
    -------
    Scene
        The same shapes in the same order and places, of the same sizes beside one another.
    """
    three = len(scene.objects) == 3
    column = three and _stands_in_a_column(scene)
    narrow = 0.65 if three and not column else 9 / 16
    wide = 1 / 0.65 if column else 16 / 9
    ratio = math.exp(rng.uniform(math.log(narrow), math.log(wide)))
    side = rng.uniform(125, 320)
    width, height = round(side * math.sqrt(ratio)), round(side / math.sqrt(ratio))
    # As large as they can be without touching where `arrange` left them room.
    across, down = width / scene.width, height / scene.height
    scale = _unit(scene, across, down) * (rng.uniform(0.6, 1.0) if rng.random() < 0.3 else 1.0)
    return Scene(
        width,
        height,
        rng.choice(GROUNDS) if rng.random() < 0.2 else scene.background,
        tuple(
            replace(item, x=item.x * across, y=item.y * down, size=item.size * scale)
            for item in scene.objects
        ),
    )


def _stands_in_a_column(scene: Scene) -> bool:
    xs, ys = [item.x for item in scene.objects], [item.y for item in scene.objects]
    return max(ys) - min(ys) > max(xs) - min(xs)


def _unit(scene: Scene, across: float, down: float) -> float:
    """How many times larger shapes may be on a canvas that is so many times wider and higher."""
    columns, rows = _grid(len(scene.objects), _stands_in_a_column(scene))

    def room(width: float, height: float) -> float:
        return min(width / columns, height / rows, 0.55 * min(width, height))

    return room(scene.width * across, scene.height * down) / room(scene.width, scene.height)


def _grid(n: int, column: bool) -> tuple[int, int]:
    """Columns and rows of cells for so many shapes."""
    if n == 4:
        return 2, 2
    return (1, n) if column else (n, 1)


def shade(colour: str, rng: random.Random) -> Rgb:
    """A shade of a colour: nobody's red is the same."""
    red, green, blue = rng.choice(_PAINT[colour])

    def near(value: int) -> int:
        return max(0, min(255, value + rng.randint(-12, 12)))

    return near(red), near(green), near(blue)


def _parse(text: str) -> tuple[str, str, str | None]:
    words = [word for word in text.lower().split() if word not in ("a", "an")]
    colours = [word for word in words if word in COLOURS]
    shapes = [word for word in words if word in SHAPES]
    sizes = [word for word in words if word in SIZES]
    if len(colours) != 1 or len(shapes) != 1 or len(words) != 2 + len(sizes) or len(sizes) > 1:
        raise ValueError(
            f"{text!r} names no shape the demo model knows. Write a colour and a shape, as in "
            f'"red star" or "small blue circle". Colours: {", ".join(COLOURS)}. '
            f"Shapes: {', '.join(SHAPES)}. Sizes: {', '.join(SIZES)}."
        )
    return colours[0], shapes[0], sizes[0] if sizes else None


_FINE = 4
"""How many times larger a shape is drawn before it is made smooth."""


@lru_cache(maxsize=4096)
def _mask(shape: str, size: int, angle: int) -> Image.Image:
    """How much of each pixel a shape of this diameter covers, 0 to 255."""
    side = (size + 2) * _FINE
    mask = Image.new("L", (side, side), 0)
    points = [
        (side / 2 + x * size * _FINE / 2, side / 2 + y * size * _FINE / 2)
        for x, y in _turned(_OUTLINES[shape], angle)
    ]
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return mask.reduce(_FINE)


def _turned(points: Sequence[tuple[float, float]], angle: float) -> list[tuple[float, float]]:
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return [(x * cosine - y * sine, x * sine + y * cosine) for x, y in points]


def _ring(radii: Sequence[float], start: float = -90.0) -> tuple[tuple[float, float], ...]:
    """Points around the centre, at these distances in turn."""
    step = 2 * math.pi / len(radii)
    begin = math.radians(start)
    return tuple(
        (radius * math.cos(begin + i * step), radius * math.sin(begin + i * step))
        for i, radius in enumerate(radii)
    )


def _heart() -> tuple[tuple[float, float], ...]:
    points = []
    for i in range(48):
        t = 2 * math.pi * i / 48
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 17, -(y + 2.5) / 17))
    return tuple(points)


_ARM = 0.3
_OUTLINES: dict[str, tuple[tuple[float, float], ...]] = {
    "circle": _ring([0.95] * 48),
    "square": ((-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)),
    "triangle": ((0.0, -0.95), (0.95, 0.8), (-0.95, 0.8)),
    "star": _ring([1.05, 0.45] * 5),
    "cross": (
        *((-_ARM, -0.95), (_ARM, -0.95), (_ARM, -_ARM), (0.95, -_ARM), (0.95, _ARM), (_ARM, _ARM)),
        *((_ARM, 0.95), (-_ARM, 0.95), (-_ARM, _ARM), (-0.95, _ARM), (-0.95, -_ARM)),
        (-_ARM, -_ARM),
    ),
    "heart": _heart(),
}
"""Corners of each shape, in units of half its diameter, y downwards."""
