"""The first stage: the vision tower alone learns to tell what is in each cell of a picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from llmagic.demo.picture import COLOURS, SHAPES
from training.net import Vision, quick
from training.optimiser import Optimiser
from training.pictures import Pictures, Scenes
from training.plan import Plan

AT_ONCE = 16
"""Pictures that go through the vision tower together."""


class Eyes(nn.Module):
    """Reads colour, shape, place and size off the embeddings of pictures; only for training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kind = nn.Linear(width, len(COLOURS) * len(SHAPES) + 1)
        self.measure = nn.Linear(width, 5)

    def forward(self, seen: Tensor, pictures: Pictures) -> tuple[Tensor, Tensor]:
        """Loss, and how many shapes of how many are read right.

        Parameters
        ----------
        seen : (pictures * cells, width)
        pictures : Pictures
        """
        there = pictures.kinds >= 0
        target = torch.where(there, pictures.kinds, self.kind.out_features - 1)
        guess = self.kind(seen)
        loss = F.cross_entropy(guess, target)
        miss = (self.measure(seen) - pictures.measures).square().mean(-1)
        loss = loss + (miss * there).sum() / there.sum().clamp(min=1)
        right = (guess.argmax(-1) == target) & there
        return loss, torch.stack((right.sum(), there.sum()))


def embed(vision: Vision, pixels: Tensor) -> Tensor:
    """Embeddings of pictures, flat; always as many at once, or all would be compiled anew."""
    missing = -len(pixels) % AT_ONCE
    parts = F.pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing)).split(AT_ONCE)
    with quick(pixels.device.type):
        seen = torch.cat([vision(part) for part in parts])
    return seen[: len(pixels)].flatten(0, 1).float()


def look(
    vision: Vision, eyes: Eyes, plan: Plan, device: torch.device, log: Callable[..., None]
) -> None:
    """Train a vision tower with its auxiliary head.

    Parameters
    ----------
    vision : Vision
    eyes : Eyes
    plan : Plan
    device : torch.device
        Where both are.
    log : callable
        Called with keywords, now and then.
    """
    optimiser = Optimiser((vision, eyes), plan.muon, plan.adam)
    began, counts = time.monotonic(), torch.zeros(2)
    scenes = Scenes("train", plan.pictures, plan.look.looks)
    for step, groups in enumerate(scenes.batches(plan.look.steps)):
        total = torch.zeros((), device=device)
        for group in groups:
            group = moved(group, device)
            loss, right = eyes(embed(vision, group.pixels), group)
            total = total + loss * len(group.pixels) / plan.pictures
            counts += right.cpu()
        total.backward()
        optimiser.step(plan.look.rate(step))
        if (step + 1) % 50 == 0:
            log(
                stage="pictures",
                step=step + 1,
                loss=total.item(),
                shapes=(counts[0] / counts[1]).item(),
                seconds=time.monotonic() - began,
            )
            counts.zero_()


def moved(value: Any, device: torch.device) -> Any:
    """A tensor, or a list or record of them, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list):
        return [moved(each, device) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return type(value)(**{name: moved(each, device) for name, each in vars(value).items()})
    return value
