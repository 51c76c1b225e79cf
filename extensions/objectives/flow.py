"""Adds noise and says what is to be predicted for rectified flow (arXiv 2209.03003, 2403.03206).

x_s = (1 - s) x_0 + s noise, with s from 0, clean, to 1. The U-Net predicts noise - x_0, and is told 1,000 s as it is:
sd-scripts' U-Nets and diffusers' take timesteps between the whole ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.model.diffusion import TIMESTEPS

if TYPE_CHECKING:
    import torch

ONE = 1024 * 1024  # pixels at which a shift by resolution is 1: what SDXL was made for
BY_RESOLUTION = "resolution"


def levels(timesteps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return s, float32 (b, 1, 1, 1), of timesteps (b,), for tensors that are like (b, c, h, w)."""
    return (timesteps.float() / TIMESTEPS).view(-1, *[1] * (like.ndim - 1))


def noised(latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """Return x_s in the latents' dtype, computed in float32."""
    level = levels(timesteps, latents)
    return ((1 - level) * latents.float() + level * noise.float()).to(latents.dtype)


def target(latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return noise - x_0 in float32: what is lost in bf16 would be an error of the target."""
    return noise.float() - latents.float()


def shift_of(shift: float | str, pixels: int) -> float:
    """Return the shift of an image: a number as it is, or sqrt(pixels / 1024^2) (arXiv 2403.03206, sec. 5.3.2)."""
    return (pixels / ONE) ** 0.5 if isinstance(shift, str) else shift


def shifted(level: float, shift: float) -> float:
    """Return s' = k s / (1 + (k - 1) s): more noise for k above 1. The ends stay."""
    return shift * level / (1 + (shift - 1) * level)


def unshifted(level: float, shift: float) -> float:
    """Return s of s': `shifted` the other way."""
    return level / (shift - (shift - 1) * level)
