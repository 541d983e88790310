"""Which picture of the dialogue a token belongs to, read off the states in the middle layers."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from training.net import Norm, Shape

MOST = 6
"""Pictures that are told apart; those beyond are taken for the last."""


class Order(nn.Module):
    """Reads the number of a picture off its tokens; only for training.

    "Which picture had the star?" is answered by a later attention layer that finds the star, and
    can only say what stands with it. Left to itself the model learns to count the pictures of a
    dialogue, but not to write the number to their tokens: it tells the first from the others.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = Norm(shape.width, shape.epsilon)
        self.number = nn.Linear(shape.width, MOST)
        self.layer = len(shape.layers) // 2 - 1

    def forward(self, states: list[Tensor], pictures: Tensor) -> Tensor:
        """Loss.

        Parameters
        ----------
        states : list of (dialogues, tokens, width)
            Behind each layer.
        pictures : (dialogues, tokens) bool
            Which tokens are of a picture.
        """
        begins = pictures & ~F.pad(pictures, (1, -1))
        number = (begins.cumsum(-1) - 1).clamp(max=MOST - 1)[pictures]
        guess = self.number(self.norm(states[self.layer][pictures]))
        return F.cross_entropy(guess, number, reduction="sum") / max(1, len(number))
