"""Linear probes of the middle layers: what should stand there with a picture's tokens."""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from llmagic.demo.picture import COLOURS, SHAPES
from training.net import Norm, Shape

MOST = 6
"""Numbers that are told apart, from 0 on; those beyond are taken for the last."""

SPOTS = 9
"""Strips of a picture, across and down, that are told apart."""

SIZES = 12
"""Sizes that are told apart, each a quarter larger than the one before."""

_LEAST, _LARGEST = 10 / 32, 5.0
"""Cells of the smallest and of the largest shape."""


class Probes(nn.Module):
    """Read a picture's number, what it has and where off its tokens; for training only.

    The number off each token, what it has in all off the last, and where a shape stands and how
    large it is off the token of its centre.

    "Which picture had the star?" is answered by a later attention layer that finds the star, and
    can only say what stands with it; "which has more shapes?" and "do both have a star?" by one
    that has both pictures before it as they are in all. Left to itself the model learns to count
    pictures and shapes and to find a star when it is asked, but not to write any of it to the
    tokens of the pictures. Where a shape stands is read off the embeddings of the vision tower,
    too, but as two numbers, which what follows made little of.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = Norm(shape.width, shape.epsilon)
        self.number = nn.Linear(shape.width, MOST)
        self.count = nn.Linear(shape.width, MOST)
        self.has = nn.Linear(shape.width, len(COLOURS) + len(SHAPES))
        self.spot = nn.Linear(shape.width, 2 * SPOTS + SIZES)
        self.layer = len(shape.layers) // 2 - 1

    def forward(
        self, states: list[Tensor], pictures: Tensor, kinds: Tensor, measures: Tensor
    ) -> tuple[Tensor, ...]:
        """Losses: which picture it is, how many shapes, which colours and shapes, where each is.

        Parameters
        ----------
        states : list of (dialogues, tokens, width)
            Behind each layer.
        pictures : (dialogues, tokens) bool
            Which tokens are of a picture; there is text between two pictures.
        kinds : (dialogues, tokens) int64
            Colour and shape at a token, as in `training.pictures.Pictures`; -1 for none.
        measures : (dialogues, tokens, 5) float32
            Place and size of the shape at a token, as there.
        """
        state = self.norm(states[self.layer][pictures])
        begins = pictures & ~F.pad(pictures, (1, -1))
        ends = pictures & ~F.pad(pictures, (-1, 1))
        last = state[ends[pictures]]
        number = begins.cumsum(-1) - 1
        there = kinds >= 0
        colours = F.one_hot(kinds.clamp(min=0) // len(SHAPES), len(COLOURS))
        shapes = F.one_hot(kinds % len(SHAPES), len(SHAPES))
        each = torch.cat((colours, shapes), -1) * there.unsqueeze(-1)
        so_far = each.cumsum(1)
        found = so_far[ends] - (so_far - each)[begins]
        has = F.binary_cross_entropy_with_logits(
            self.has(last), (found > 0).to(last.dtype), reduction="sum"
        )
        return (
            _loss(self.number(state), number[pictures]),
            _loss(self.count(last), found[:, : len(COLOURS)].sum(-1)),
            has / max(1, len(last)),
            self._spots(state[there[pictures]], measures[there & pictures]),
        )

    def _spots(self, state: Tensor, measures: Tensor) -> Tensor:
        """The loss on in which strips of its picture a shape is, and how large."""
        strips = ((measures[:, 3:] + 1) / 2 * SPOTS).long().clamp(0, SPOTS - 1)
        share = torch.log(((measures[:, 2] + 1) / _LEAST).clamp(min=1)) / log(_LARGEST / _LEAST)
        sizes = (share * SIZES).long().clamp(max=SIZES - 1)
        across, down, large = self.spot(state).split((SPOTS, SPOTS, SIZES), -1)
        parts = ((across, strips[:, 0]), (down, strips[:, 1]), (large, sizes))
        losses = [F.cross_entropy(guess, to, reduction="sum") for guess, to in parts]
        return sum(losses, state.new_zeros(())) / max(1, len(state))


def _loss(guess: Tensor, number: Tensor) -> Tensor:
    """Mean cross entropy, 0 for nothing."""
    number = number.clamp(max=guess.shape[-1] - 1)
    return F.cross_entropy(guess, number, reduction="sum") / max(1, len(number))
