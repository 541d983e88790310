"""Draw the pictures of the example notebooks into notebooks/pictures/.

    python notebooks/make_pictures.py [FOLDER]

The files are committed: notebooks and tests use those, since another version of Pillow may draw or
encode them a little differently.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

INK = "#22303c"
OVERSAMPLING = 4  # Pillow draws without antialiasing: draw larger, then shrink


class Canvas:
    """A picture to draw on in its own pixels."""

    def __init__(self, width: int, height: int, background: str) -> None:
        self.size = (width, height)
        large = (width * OVERSAMPLING, height * OVERSAMPLING)
        self._image = Image.new("RGB", large, background)
        self._draw = ImageDraw.Draw(self._image)

    def _scaled(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]

    def polygon(self, points: list[tuple[float, float]], fill: str) -> None:
        self._draw.polygon(self._scaled(points), fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: str) -> None:
        self._draw.rectangle(self._scaled([(left, top), (right, bottom)]), fill=fill)

    def line(self, points: list[tuple[float, float]], fill: str, width: float) -> None:
        scaled = self._scaled(points)
        self._draw.line(scaled, fill=fill, width=round(width * OVERSAMPLING), joint="curve")

    def disc(self, x: float, y: float, radius: float, fill: str) -> None:
        corners = self._scaled([(x - radius, y - radius), (x + radius, y + radius)])
        self._draw.ellipse(corners, fill=fill)

    def text(self, x: float, y: float, text: str, size: float, anchor: str = "mm") -> None:
        font = ImageFont.load_default(size * OVERSAMPLING)
        at = (x * OVERSAMPLING, y * OVERSAMPLING)
        self._draw.text(at, text, fill=INK, font=font, anchor=anchor)

    def finish(self) -> Image.Image:
        return self._image.resize(self.size, Image.Resampling.LANCZOS)


def shapes() -> Image.Image:
    """A red square, a blue disc and a green triangle."""
    canvas = Canvas(256, 256, "#ffffff")
    canvas.box(24, 32, 112, 120, "#d62839")
    canvas.disc(186, 82, 50, "#2660a4")
    canvas.polygon([(128, 138), (204, 232), (52, 232)], "#3a9d5d")
    return canvas.finish()


def bars() -> Image.Image:
    """A bar chart: four quarters, the third the highest."""
    canvas = Canvas(480, 320, "#fbfaf5")
    canvas.text(240, 28, "Visitors per quarter", 20)
    for level in range(0, 101, 25):
        y = 270 - 2 * level
        canvas.line([(60, y), (450, y)], "#d8d5c8", 1)
        canvas.text(50, y, str(level), 13, "rm")
    for at, (label, value) in enumerate([("Q1", 42), ("Q2", 61), ("Q3", 94), ("Q4", 55)]):
        left = 85 + 95 * at
        canvas.box(left, 270 - 2 * value, left + 60, 270, "#e07a3f")
        canvas.text(left + 30, 290, label, 15)
        canvas.text(left + 30, 258 - 2 * value, str(value), 13)
    canvas.line([(60, 270), (450, 270)], INK, 2)
    return canvas.finish()


def harbour() -> Image.Image:
    """A sailing boat in front of a low sun."""
    canvas = Canvas(512, 288, "#f6b26b")
    for row in range(170):
        share = row / 170
        red, green, blue = 70 + 185 * share, 90 + 100 * share, 150 - 40 * share
        canvas.box(0, row, 512, row + 1, f"#{int(red):02x}{int(green):02x}{int(blue):02x}")
    canvas.disc(370, 160, 44, "#fff1c1")
    canvas.box(0, 170, 512, 288, "#2b4c6f")
    waves = random.Random(3)
    for _ in range(70):
        x, y = waves.uniform(0, 512), waves.uniform(178, 284)
        near = 300 < x < 430
        canvas.line([(x, y), (x + waves.uniform(8, 26), y)], "#ffd890" if near else "#44709a", 1.4)
    canvas.polygon([(92, 196), (236, 196), (212, 226), (116, 226)], "#7a2e2e")
    canvas.line([(160, 196), (160, 56)], "#402020", 3)
    canvas.polygon([(165, 60), (165, 188), (232, 188)], "#ffffff")
    canvas.polygon([(155, 76), (155, 188), (104, 188)], "#f0e4d0")
    return canvas.finish()


def clock() -> Image.Image:
    """A wall clock that shows ten past ten."""
    canvas = Canvas(224, 224, "#dfe7ea")
    canvas.disc(112, 112, 100, INK)
    canvas.disc(112, 112, 93, "#ffffff")

    def hand(turn: float, length: float, width: float) -> None:
        angle = 2 * math.pi * turn
        tip = (112 + length * math.sin(angle), 112 - length * math.cos(angle))
        canvas.line([(112, 112), tip], INK, width)

    for hour in range(1, 13):
        angle = 2 * math.pi * hour / 12
        canvas.text(112 + 78 * math.sin(angle), 112 - 78 * math.cos(angle), str(hour), 17)
    hand((10 + 10 / 60) / 12, 42, 6)
    hand(10 / 60, 62, 4)
    canvas.disc(112, 112, 6, "#d62839")
    return canvas.finish()


def receipt() -> Image.Image:
    """A shop receipt with four items and their sum, taller than wide."""
    canvas = Canvas(240, 360, "#fffef8")
    canvas.text(120, 32, "CORNER SHOP", 20)
    items = [("Bread", 2.40), ("Butter", 3.15), ("Apples", 4.05), ("Coffee", 6.90)]
    for at, (name, price) in enumerate(items):
        y = 92 + 40 * at
        canvas.text(24, y, name, 16, "lm")
        canvas.text(216, y, f"{price:.2f}", 16, "rm")
    canvas.line([(24, 244), (216, 244)], INK, 1.5)
    canvas.text(24, 272, "TOTAL", 18, "lm")
    canvas.text(216, 272, f"{sum(price for _, price in items):.2f}", 18, "rm")
    canvas.text(120, 326, "Thank you!", 14)
    return canvas.finish()


def plan() -> Image.Image:
    """A street map with a park, a river and a route from A to B."""
    canvas = Canvas(400, 300, "#efece3")
    canvas.polygon([(230, 30), (370, 30), (370, 130), (230, 130)], "#b5d6a0")
    canvas.text(300, 80, "Park", 18)
    river = [(x, 235 + 18 * math.sin(x / 45)) for x in range(-5, 410, 5)]
    canvas.line(river, "#8bbbe0", 26)
    for x in (60, 150, 210, 385):
        canvas.line([(x, 0), (x, 300)], "#ffffff", 9)
    for y, end in ((20, 400), (90, 214), (150, 400), (285, 400)):
        canvas.line([(0, y), (end, y)], "#ffffff", 9)
    canvas.line([(60, 285), (60, 150), (210, 150), (210, 20), (385, 20)], "#d62839", 5)
    for x, y, name in ((60, 285, "A"), (385, 20, "B")):
        canvas.disc(x, y, 13, "#ffd23f")
        canvas.text(x, y, name, 15)
    return canvas.finish()


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "shapes.png": shapes,
    "bars.png": bars,
    "harbour.jpg": harbour,
    "clock.png": clock,
    "receipt.jpg": receipt,
    "map.png": plan,
}


def main() -> None:
    beside = Path(__file__).parent / "pictures"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else beside
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        picture = draw()
        if name.endswith(".png"):
            # Few colours: a palette PNG is a quarter of the size, and one more mode to read.
            picture.quantize(64).save(folder / name, optimize=True)
        else:
            picture.save(folder / name, quality=82, optimize=True)
        print(
            f"{name:<12} {picture.width} x {picture.height}, {(folder / name).stat().st_size} bytes"
        )


if __name__ == "__main__":
    main()
