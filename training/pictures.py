"""Batches of pictures, with what is to be seen in each of the cells that become tokens."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from llmagic.demo.picture import Scene
from llmagic.demo.plot import plotted
from training.dialogues.scenes import CELL, kinds, pixels, random_scene


@dataclass
class Pictures:
    """Pictures of one size.

    Attributes
    ----------
    pixels : (pictures, height, width, 3) uint8
    places : (pictures * cells,) int64, where the tokens stand in a flattened batch of dialogues
    kinds : (pictures * cells,) int64, colour and shape in a cell, -1 for none
    measures : (pictures * cells, 5) float32, where in its cell the shape's centre is and how large
        it is, in cells, and where in the picture, from -1 to 1
    """

    pixels: Tensor
    places: Tensor
    kinds: Tensor
    measures: Tensor


def grouped(
    scenes: Sequence[Scene],
    arrays: Sequence[npt.NDArray[np.uint8]],
    places: Sequence[Sequence[int]] = (),
) -> list[Pictures]:
    """Pictures with what is to be seen, grouped by size."""
    groups = defaultdict(list)
    for index, each in enumerate(scenes):
        groups[each.height, each.width].append(index)
    return [
        _group(
            [scenes[i] for i in group],
            [arrays[i] for i in group],
            [place for i in group for place in places[i]] if places else [],
        )
        for group in groups.values()
    ]


def _group(scenes: list[Scene], arrays: list[npt.NDArray[np.uint8]], places: list[int]) -> Pictures:
    rows, columns = scenes[0].height // CELL, scenes[0].width // CELL
    measures = np.zeros((len(scenes), rows, columns, 5), np.float32)
    for index, each in enumerate(scenes):
        for item in each.objects:
            x, y = item.x / CELL, item.y / CELL
            row, column = min(int(y), rows - 1), min(int(x), columns - 1)
            measures[index, row, column] = (
                *(x - column - 0.5, y - row - 0.5, item.size / CELL - 1),
                *(2 * x / columns - 1, 2 * y / rows - 1),
            )
    return Pictures(
        torch.from_numpy(np.stack(arrays)),
        torch.tensor(places, dtype=torch.int64),
        torch.from_numpy(np.stack([kinds(each, rows, columns).ravel() for each in scenes]).ravel()),
        torch.from_numpy(measures.reshape(-1, 5)),
    )


class Scenes(Dataset[list[Pictures]]):
    """Batches of random pictures, some as plots; a batch's number says which."""

    def __init__(self, name: str, size: int, plots: float = 0.0) -> None:
        self.name = name
        self.size = size
        self.plots = plots

    def __getitem__(self, index: int) -> list[Pictures]:
        """The pictures of a batch, grouped by size."""
        rng = random.Random(f"{self.name} pictures {index}")
        scenes = [random_scene(rng)[0] for _ in range(self.size)]
        arrays = [pixels(scene, rng) for scene in scenes]
        for at in range(self.size if self.plots else 0):
            if rng.random() < self.plots:
                scenes[at], image = plotted(scenes[at], rng)
                arrays[at] = np.asarray(image)
        return grouped(scenes, arrays)

    def batches(self, stop: int) -> Iterator[list[Pictures]]:
        """So many batches, made by another process."""
        yield from DataLoader(
            self, batch_size=None, sampler=range(stop), num_workers=1, prefetch_factor=16
        )
