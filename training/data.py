"""Batches of dialogues, made from a seed while the model learns.

Each pool of dialogues has its own random numbers, so that a run can go on at any pool, and sorts
its dialogues by length, so that little of a batch is padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from llmagic.demo.picture import Scene
from training.dialogues import DRILLS, USUAL, talked
from training.pictures import Pictures, grouped, made_ahead
from training.plan import Round
from training.preprocess import CELL
from training.tokenizer import Tokenizer, Tokens

POOL = 256
"""Dialogues that are sorted together."""

LENGTHS = (128, 192, 256, 320)
"""Tokens a dialogue is padded to."""


@dataclass
class Batch:
    """Dialogues padded to one length.

    Attributes
    ----------
    ids : (dialogues, tokens) int64
    positions : (3, dialogues, tokens) int64
    answers : (dialogues, tokens) int64, number of the answer a token belongs to, -1 for none
    text : (dialogues, tokens) bool, whether it is neither padding nor of a picture
    tasks : list of str, by the numbers in `answers`
    pictures : list of Pictures
    """

    ids: Tensor
    positions: Tensor
    answers: Tensor
    text: Tensor
    tasks: list[str]
    pictures: list[Pictures]


def positions(
    ids: Sequence[int], image: int, sizes: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, list[list[int]]]:
    """M-RoPE positions (3, tokens), and the places of each picture's tokens.

    A picture's tokens are at (p, p + row, p + column), and the text goes on at p + the larger of
    its rows and columns (mtmd.cpp, MTMD_POS_TYPE_MROPE).

    Parameters
    ----------
    ids : sequence of int
    image : int
        The token that stands for each token of a picture.
    sizes : sequence of (rows, columns)
        Of the pictures, in tokens.
    """
    out = np.zeros((3, len(ids)), np.int64)
    places: list[list[int]] = []
    at = index = 0
    while index < len(ids):
        if ids[index] != image:
            out[:, index] = at
            at, index = at + 1, index + 1
            continue
        rows, columns = sizes[len(places)]
        grid = np.mgrid[0:rows, 0:columns].reshape(2, -1)
        stop = index + rows * columns
        out[:, index:stop] = at
        out[1:, index:stop] += grid
        places.append(list(range(index, stop)))
        at, index = at + max(rows, columns), stop
    return out, places


@dataclass
class Example:
    """A dialogue, ready to be put into a batch."""

    tokens: Tokens
    tasks: list[str]
    scenes: list[Scene]


def example(rng: np.random.Generator, tokenizer: Tokenizer, part: Round, simple: bool) -> Example:
    """A random dialogue that is not too long; a simple one is about two pictures at most."""
    names, shares = list(part.drills), np.cumsum([*part.drills.values()])
    while True:
        which = int((rng.random() >= shares).sum())
        drill = DRILLS[names[which]] if which < len(names) else USUAL
        made = talked(rng, drill, part.looks, held_out=part.held_out)
        if simple and len(made.scenes) > 2:
            continue
        tokens = tokenizer.tokens(made)
        if len(tokens.ids) <= LENGTHS[-1]:
            return Example(tokens, list(made.tasks), list(made.scenes))


def batch(examples: Sequence[Example], length: int, image: int) -> Batch:
    """Examples padded to a length."""
    shape = (len(examples), length)
    ids, answers = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    text, places_all = np.zeros(shape, bool), []
    where = np.zeros((3, *shape), np.int64)
    tasks: list[str] = []
    scenes: list[Scene] = []
    arrays: list[npt.NDArray[np.uint8]] = []
    for row, each in enumerate(examples):
        n = len(each.tokens.ids)
        ids[row, :n] = each.tokens.ids
        sizes = [(s.height // CELL, s.width // CELL) for s in each.scenes]
        where[:, row, :n], places = positions(each.tokens.ids, image, sizes)
        places_all += [[row * length + place for place in group] for group in places]
        text[row, :n] = ids[row, :n] != image
        answer = np.asarray(each.tokens.answer, bool)
        begins = answer & ~np.concatenate(([False], answer[:-1]))
        answers[row, :n] = np.where(answer, begins.cumsum() - 1 + len(tasks), -1)
        if begins.sum() != len(each.tasks):
            raise ValueError(f"{begins.sum()} answers and {len(each.tasks)} tasks in a dialogue")
        tasks += each.tasks
        scenes += each.scenes
        arrays += each.tokens.pictures
    tensors = (torch.from_numpy(array) for array in (ids, where, answers, text))
    return Batch(*tensors, tasks, grouped(scenes, arrays, places_all))


class Pools(Dataset[list[Batch]]):
    """Pools of dialogues as batches of some `tokens` each.

    Parameters
    ----------
    seed : int
        Says, with a pool's number, which random numbers it is made of.
    tokenizer : Tokenizer
    tokens : int
        In a batch, padding included.
    part : Round
        What the dialogues are to be like.
    """

    def __init__(self, seed: int, tokenizer: Tokenizer, tokens: int, part: Round) -> None:
        self.seed = seed
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.part = part

    def __getitem__(self, index: int) -> list[Batch]:
        """The batches of a pool, in random order."""
        rng = np.random.default_rng((self.seed, index))
        simple = index < self.part.simple
        examples = [example(rng, self.tokenizer, self.part, simple) for _ in range(POOL)]
        examples.sort(key=lambda each: -len(each.tokens.ids))
        batches = []
        while examples:
            length = min(n for n in LENGTHS if n >= len(examples[0].tokens.ids))
            size = self.tokens // length
            # A batch of another size would have to be compiled for; the rest is left out.
            if len(examples) >= size:
                batches.append(batch(examples[:size], length, self.tokenizer.image))
            del examples[:size]
        return [batches[i] for i in rng.permutation(len(batches))]

    def from_pool(self, first: int) -> Iterator[tuple[int, list[Batch]]]:
        """Numbers and batches of the pools from `first` on, made by another process."""
        order = range(first, 1_000_000)
        yield from zip(order, made_ahead(self, order, 8), strict=False)
