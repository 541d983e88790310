"""Muon for the text model's matrices, AdamW for everything else, and how fast they go when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.net import has_bfloat16

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic that takes all singular values near 1 (Keller Jordan's Muon)."""


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are made orthogonal (https://kellerjordan.github.io/posts/muon).

    Matrices of one shape are made orthogonal together, which is faster on a CPU.

    Parameters
    ----------
    parameters : iterable of Parameter
        Matrices only.
    lr : float
        Step of a square matrix; others take max(1, rows / columns) ** 0.5 of it.
    momentum : float
        Of Nesterov's kind.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update the parameters by their gradients."""
        del closure
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(tuple(parameter.shape), []).append(parameter)
            for shape, parameters in alike.items():
                updates = []
                for parameter in parameters:
                    state = self.state[parameter]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(parameter)
                    velocity = state["momentum"]
                    velocity.lerp_(parameter.grad, 1 - group["momentum"])
                    updates.append(parameter.grad.lerp(velocity, group["momentum"]))
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                turned = _orthogonal(torch.stack(updates))
                for parameter, update in zip(parameters, turned, strict=True):
                    parameter.add_(update, alpha=-scale)


def _orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Nearly orthogonal matrices of the same row and column spaces, (n, rows, columns)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    if has_bfloat16(x.device.type):
        x = x.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + torch.baddbmm(square, square, square, beta=b, alpha=c) @ x
    x = x.to(matrices.dtype)
    return x.mT if tall else x


class Optimiser:
    """Both: Muon for wide matrices, Adam for embeddings, heads, norms and biases.

    Parameters
    ----------
    modules : iterable of Module
    muon, adam : float
        Full learning rates.
    """

    def __init__(self, modules: Iterable[nn.Module], muon: float, adam: float) -> None:
        matrices, others = [], []
        for module in modules:
            for name, parameter in module.named_parameters():
                wide = parameter.ndim == 2 and min(parameter.shape) >= 64
                (matrices if wide and "embed" not in name else others).append(parameter)
        self.others = others
        self.full = (muon, adam)
        self.parts = (Muon(matrices, muon), torch.optim.Adam(others, adam, betas=(0.9, 0.95)))

    def step(self, speed: float) -> None:
        """Update by the gradients, at this fraction of the full rates, and forget them."""
        nn.utils.clip_grad_norm_([p for p in self.others if p.grad is not None], 1.0)
        for optimiser, full in zip(self.parts, self.full, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = full * speed
            optimiser.step()
            optimiser.zero_grad()

    def state_dict(self) -> list[Any]:
        """What is needed to go on."""
        return [optimiser.state_dict() for optimiser in self.parts]

    def load_state_dict(self, states: list[Any]) -> None:
        """Go on from there."""
        for optimiser, state in zip(self.parts, states, strict=True):
            optimiser.load_state_dict(state)
