"""Weighs losses by the signal-to-noise ratio of their timestep, and measures errors otherwise than squared.

SNR = a^2 / b^2 of x_t = a x_0 + b noise. The papers weigh the error of x_0 or of the noise; what the U-Net predicts
only decides by which factor its own loss has to be multiplied for that: the squared error of epsilon is SNR times
that of x_0, the one of v SNR + 1 times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.model.diffusion import scheduler

if TYPE_CHECKING:
    import torch


def snr(zero_snr: bool) -> torch.Tensor:
    """Return the SNR of the schedule's timesteps, float64 (1000,); 0 at the end of one with zero terminal SNR."""
    alphas = scheduler(zero_snr).alphas_cumprod.double()
    return alphas / (1 - alphas)


def min_snr(ratio: torch.Tensor, gamma: float, v: bool) -> torch.Tensor:
    """Return the factors by which the error of x_0 weighs min(SNR, gamma) (arXiv 2303.09556).

    For epsilon min(1, gamma / SNR), for v min(SNR, gamma) / (SNR + 1): finite at SNR 0, where they are 1 and 0.
    """
    import torch

    if v:
        return ratio.clamp(max=gamma) / (ratio + 1)
    return torch.where(ratio > gamma, gamma / ratio.clamp(min=gamma), torch.ones_like(ratio))


def debiased(ratio: torch.Tensor, v: bool) -> torch.Tensor:
    """Return the factors by which the error of the noise weighs 1 / sqrt(SNR) (arXiv 2310.08442).

    For v that is sqrt(SNR) / (SNR + 1). For epsilon it grows without bound towards SNR 0.
    """
    return ratio.sqrt() / (ratio + 1) if v else ratio.rsqrt()


def velocity(ratio: torch.Tensor, v: bool) -> torch.Tensor:
    """Return the factors by which the error of flow's velocity, noise - x_0, weighs 1 (Diff2Flow, arXiv 2506.02221).

    x_t of a schedule is x_s of flow but for its scale: x_s = x_t / (a + b) with s = b / (a + b). What a prediction of
    noise or v means for noise_hat - x0_hat errs (a + b) / a or a + b times as much as itself. For epsilon the factor
    grows without bound towards SNR 0.
    """
    root = ratio.sqrt()
    return (1 + root).square() / (1 + ratio) if v else (1 + 1 / root).square()


def pseudo_huber(predicted: torch.Tensor, target: torch.Tensor, delta: float) -> torch.Tensor:
    """Return 2 d (sqrt(e^2 + d^2) - d) of the errors e, a mean a sample, (b,): e^2 for small ones, 2 d |e| for large.

    As sd-scripts' `--loss_type=huber` with a constant threshold. Written without the difference of near numbers.
    """
    error = (predicted.float() - target.float()).square()
    return (2 * delta * error / ((error + delta**2).sqrt() + delta)).flatten(1).mean(1)
