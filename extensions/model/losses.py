"""Holds the loss of each sample of a batch on its way to the batch's, for whoever weighs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class Losses:
    """The losses of a micro-step on one process.

    values: float32 (b,), each a mean over its sample, which a plugin may replace; what it puts there reaches the
    weights by its gradient. predicted, target: (b, 4, h/8, w/8). timesteps: (b,), of `draw_timesteps`.
    """

    values: torch.Tensor
    predicted: torch.Tensor
    target: torch.Tensor
    timesteps: torch.Tensor
