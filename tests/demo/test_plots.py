"""Pictures inside the axes of a plot: drawn by us, and by a real plotting library."""

from __future__ import annotations

import io
import random

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from llmagic.demo.picture import arrange
from llmagic.demo.plot import plotted
from llmagic.session import Session

matplotlib_figure = pytest.importorskip("matplotlib.figure")

MARKERS = {"circle": "o", "square": "s", "triangle": "^", "star": "*", "cross": "P"}
COLOURS = {"red": "red", "blue": "tab:blue", "green": "green", "orange": "orange", "black": "k"}


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


def figure(
    kinds: list[str], *, inches: tuple[float, float], marker: float, grid: bool, title: str
) -> Image.Image:
    """A scatter plot as somebody makes one."""
    made = matplotlib_figure.Figure(figsize=inches)
    axes = made.subplots()
    for index, kind in enumerate(kinds):
        colour, shape = kind.split()
        axes.scatter([index + 0.5], [0.5], s=marker, c=COLOURS[colour], marker=MARKERS[shape])
    axes.set_xlim(0, len(kinds))
    axes.set_ylim(0, 1)
    axes.grid(grid)
    axes.set_title(title)
    file = io.BytesIO()
    made.savefig(file)
    return Image.open(file).convert("RGB")


@pytest.mark.parametrize(
    ("inches", "marker"), [((4.8, 3.6), 2500), ((4.8, 3.6), 1200), ((6.4, 4.8), 2500)]
)
def test_plots_of_a_plotting_library_are_described(
    demo: Session, inches: tuple[float, float], marker: float
) -> None:
    rng = random.Random(0)
    right = []
    for n in (1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3):
        shapes = rng.sample(list(MARKERS), n)
        kinds = [f"{rng.choice(list(COLOURS))} {shape}" for shape in shapes]
        image = figure(
            kinds,
            inches=inches,
            marker=marker,
            grid=rng.random() < 0.5,
            title=rng.choice(("", "Shapes")),
        )
        turn = demo.ask("What do you see?", images=[image], after=None, temperature=0)
        things = turn.text.count(", ") + turn.text.count(" and ") + 1
        right.append(things == n and all(kind in turn.text for kind in kinds))
    assert sum(right) >= 11, right
