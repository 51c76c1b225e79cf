"""Divides the noise that a model is asked about into strata of equal width in log-SNR, and draws it.

log-SNR = log(a^2 / b^2) of x_t = a x_0 + b noise falls from 7.07 to -5.36 over Stable Diffusion's 1,000 timesteps,
and is the same scale for epsilon, v and rectified flow, whatever the schedule. One point is drawn in each stratum for
each image: uniform within the stratum, by a hash of the seed and the id, so that the images together cover it. The
noise is a function of seed, id and stratum, never of a random stream: the same question at every step, in every run,
on every process.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import xxhash

from extensions.flags import settings
from extensions.model.diffusion import TIMESTEPS, scheduler
from extensions.model.prediction import FLOW

if TYPE_CHECKING:
    import torch

HIGHEST, LOWEST = 7.07, -5.36  # log-SNR, natural logarithm: Stable Diffusion's timesteps 0 and 999


def edges(strata: int) -> list[float]:
    """Return the borders of the strata in log-SNR, from the cleanest down; strata + 1 of them."""
    return [HIGHEST - (HIGHEST - LOWEST) * number / strata for number in range(strata + 1)]


def names(strata: int) -> list[str]:
    """Return the strata's names: "log-SNR 7.1 to 5.5"."""
    borders = edges(strata)
    return [f"log-SNR {above:.2f} to {below:.2f}" for above, below in zip(borders, borders[1:], strict=False)]


def point(seed: int, key: str, stratum: int, strata: int) -> float:
    """Return the log-SNR at which an image is asked about in a stratum, counted from 0, the cleanest."""
    place = xxhash.xxh3_64_intdigest(f"log-SNR: {seed}:{stratum}:{key}".encode()) / 2**64
    return HIGHEST - (HIGHEST - LOWEST) * (stratum + place) / strata


def noise(seed: int, key: str, stratum: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return standard normal noise, float32 on the CPU, the same on every machine."""
    import torch

    number = xxhash.xxh3_64_intdigest(f"noise: {seed}:{stratum}:{key}".encode()) >> 1  # torch takes 63 bits
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))


def timesteps_at(points: list[float], alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """Return the timestep of a schedule whose log-SNR is nearest to each point: int64 (n,)."""
    import torch

    cleaner = alphas_cumprod.double().log() - (1 - alphas_cumprod.double()).log()
    return torch.tensor([int((cleaner - at).abs().argmin()) for at in points])


def x0_error(loss: float, alpha_cumprod: float, v_parameterization: bool) -> float:
    """Return the mean squared error of the clean latents that a prediction means.

    loss: the prediction's own. ||x0_hat - x0||^2 = (b/a)^2 L_eps = b^2 L_v: the same scale for all that is trained.
    """
    noise_share = 1 - alpha_cumprod
    return noise_share * loss if v_parameterization else noise_share / alpha_cumprod * loss


class Strata:
    """Sorts losses of a training by the log-SNR at which they arose. args: the run's flags."""

    COUNT = 8

    def __init__(self, args):
        import torch

        asked = settings.of_args(args)
        alphas = scheduler(asked.zero_snr).alphas_cumprod.double()
        cleaner = alphas.log() - (1 - alphas).log()
        self.below = edges(self.COUNT)[1:-1]  # noisier than the last, or cleaner than the first: there
        self.of_timestep = (cleaner[:, None] <= torch.tensor(self.below).double()).sum(1).tolist()
        self.flow = asked.prediction == FLOW
        self.names = names(self.COUNT)

    def number(self, timestep: float) -> int:
        """Return the stratum of a timestep, counted from 0, the cleanest; of flow by its own scales."""
        if not self.flow:
            return self.of_timestep[int(timestep)]
        level = min(max(timestep / TIMESTEPS, 1e-9), 1 - 1e-9)
        log_snr = 2 * math.log((1 - level) / level)
        return sum(log_snr <= border for border in self.below)

    def means(self, losses: list[float], timesteps: list[torch.Tensor]) -> dict[str, float]:
        """Return {stratum: mean loss} of micro-steps of one image each; a batch's loss belongs to several.

        The timesteps are read off their device together, once.
        """
        import torch

        if not losses or len(losses) != len(timesteps) or any(len(each) != 1 for each in timesteps):
            return {}
        found: dict[str, list[float]] = {}
        for loss, drawn in zip(losses, torch.cat(timesteps).tolist(), strict=True):
            found.setdefault(self.names[self.number(drawn)], []).append(loss)
        return {name: sum(values) / len(values) for name, values in found.items()}
