"""Learns how uncertain a model is at each level of noise, and weighs its losses by that (EDM2, arXiv 2312.02696).

A loss L becomes L exp(-u) + u, with u a function of ln sigma, sigma = b / a, that learns beside the model (sec. 2.2,
appendix B.3; 1705.07115). Its minimum is at u = ln L: what is hard at all noise levels alike then weighs alike.
u is a weighted sum of cosines of fixed random frequencies, 0 everywhere at first. Its gradient comes with the
model's; it has an optimizer of its own, in float32, and is the same on every rank.
"""

from __future__ import annotations

import math
from typing import Any

import torch

CHANNELS = 128
BETAS = (0.9, 0.99)  # of Adam
FURTHEST = 10.0  # |ln sigma|: where a schedule ends without signal, or flow begins without noise


class Uncertainty(torch.nn.Module):
    """u of ln sigma, float32 (b,). seed: of the frequencies."""

    frequencies: torch.Tensor
    phases: torch.Tensor

    def __init__(self, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(CHANNELS, generator=generator))
        self.register_buffer("phases", 2 * math.pi * torch.rand(CHANNELS, generator=generator))
        self.weight = torch.nn.Parameter(torch.zeros(CHANNELS))

    def forward(self, log_sigma: torch.Tensor) -> torch.Tensor:
        noise = log_sigma.clamp(-FURTHEST, FURTHEST)[:, None] / 4
        return (noise * self.frequencies + self.phases).cos() @ self.weight * (2 / CHANNELS) ** 0.5


class Learned:
    """Weights that learn. device: of the losses. rate: the learning rate."""

    def __init__(self, seed: int, rate: float, device: torch.device):
        self.uncertainty = Uncertainty(seed).to(device)
        self.optimizer = torch.optim.Adam(self.uncertainty.parameters(), rate, BETAS)

    def weigh(self, losses: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
        """Return L exp(-u) + u of each sample, (b,)."""
        with torch.autocast(losses.device.type, enabled=False):
            uncertain = self.uncertainty(log_sigma.float())
            return losses * (-uncertain).exp() + uncertain

    def step(self, accelerator) -> None:
        """Take one step by the gradients of this update, averaged over the ranks. Every rank calls it."""
        weight = self.uncertainty.weight
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad = accelerator.reduce(weight.grad, "mean")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """Return everything that the next step goes by."""
        return {"uncertainty": dict(self.uncertainty.state_dict()), "optimizer": self.optimizer.state_dict()}

    def take(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.uncertainty.load_state_dict(state["uncertainty"])
        self.optimizer.load_state_dict(state["optimizer"])
