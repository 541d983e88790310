"""Batches of pictures, with what is to be seen in each of the cells that become tokens."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from llmagic.demo.picture import Scene
from training.dialogues.looks import Looks, drawn, random_scene
from training.dialogues.scenes import kinds
from training.preprocess import CELL


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
    """Batches of random pictures; a batch's number says which."""

    def __init__(self, name: str, size: int, looks: Looks) -> None:
        self.name = name
        self.size = size
        self.looks = looks

    def __getitem__(self, index: int) -> list[Pictures]:
        """The pictures of a batch, grouped by size."""
        rng = random.Random(f"{self.name} pictures {index}")
        made = [drawn(random_scene(rng, self.looks), rng, self.looks) for _ in range(self.size)]
        return grouped([scene for scene, _ in made], [array for _, array in made])

    def batches(self, stop: int) -> Iterator[list[Pictures]]:
        """So many batches, made by another process."""
        yield from made_ahead(self, range(stop), 16)


def made_ahead(dataset: Dataset[Any], order: Iterable[int], ahead: int) -> DataLoader[Any]:
    """Items of a dataset, made by another process, so many ahead.

    That process has what time is left: on two cores a step waits for the slower of its threads.
    """
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=order,
        num_workers=1,
        prefetch_factor=ahead,
        worker_init_fn=_yield,
    )


def _yield(_: int) -> None:
    if hasattr(os, "nice"):
        os.nice(10)
