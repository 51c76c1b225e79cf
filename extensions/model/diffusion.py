"""Knows what a U-Net is trained on: the schedule of the noise, and the scale of the latents.

x_t = a x_0 + b noise, with a = sqrt(alphas_cumprod[t]) and b = sqrt(1 - alphas_cumprod[t]).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from diffusers import DDPMScheduler

TIMESTEPS = 1000  # of the schedule, 0 the cleanest
LATENT_SCALE = {"sdxl": 0.13025, "sd2": 0.18215}  # what an autoencoder's latents are multiplied by, family by family


def scheduler(zero_terminal_snr: bool) -> DDPMScheduler:
    """Make Stable Diffusion's schedule.

    snr, float32 (1000,), is kept beside it for the min-SNR weight. Upstream computes it before the rescaling
    to zero terminal SNR, so that the weights belong to the schedule without it. Followed, because losses
    are compared; by the paper (arXiv 2303.09556) it should be the SNR that is trained at.
    """
    from diffusers import DDPMScheduler

    made: Any = DDPMScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
    )
    made.snr = made.alphas_cumprod / (1 - made.alphas_cumprod)
    if zero_terminal_snr:
        made.alphas_cumprod = with_zero_terminal_snr(made.alphas_cumprod)
    return made


def with_zero_terminal_snr(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """Return float32 (1000,), shifted and scaled: the last is 0, the first stays (arXiv 2305.08891, alg. 1)."""
    root = alphas_cumprod.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    return ((root - last) * (first / (first - last))) ** 2
