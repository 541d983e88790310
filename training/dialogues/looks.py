"""What the pictures of dialogues look like, and how they are drawn for the vision tower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from llmagic.demo.picture import Scene, reshaped
from llmagic.demo.plot import plotted
from training.dialogues.layouts import anywhere
from training.dialogues.scenes import TOKENS, Kind, arranged, pixels, random_kinds
from training.preprocess import framed, prepared


@dataclass(frozen=True)
class Looks:
    """Fractions of pictures.

    Attributes
    ----------
    free : float
        Whose shapes stand anywhere, on a canvas of any ratio (`training.dialogues.layouts`).
    ratios : float
        Of the others: on a canvas of another size and ratio than llama.cpp leaves as it is.
    plots : float
        That stand inside the axes of a plot.
    """

    free: float = 0.0
    ratios: float = 0.0
    plots: float = 0.0


def random_scene(
    rng: Random, looks: Looks, kinds: Sequence[Kind] | None = None, sized: float = 0.4
) -> Scene:
    """A scene with these kinds, one to four random ones if not given.

    Sizes are told apart in `sized` of the scenes only; elsewhere they are anything between.
    """
    if kinds is None:
        kinds = random_kinds(rng, rng.randint(1, 4))
    if rng.random() < looks.free:
        return anywhere(rng, kinds, sized)
    scene = arranged(rng, kinds, sized)
    return reshaped(scene, rng) if rng.random() < looks.ratios else scene


def drawn(scene: Scene, rng: Random, looks: Looks) -> tuple[Scene, npt.NDArray[np.uint8]]:
    """Where the shapes are in what the vision tower gets (`training.preprocess`), and pixels."""
    if rng.random() < looks.plots:
        scene, image = plotted(scene, rng)
        picture = np.asarray(image)
    else:
        picture = pixels(scene, rng)
    return framed(scene, TOKENS), prepared(picture, TOKENS)
