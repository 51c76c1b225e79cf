"""Adds noise to latents, and says what the U-Net should predict and how a sample's loss is weighted."""

import torch
from accelerate.utils import gather
from diffusers import DDPMScheduler

from extensions import loop, manager
from extensions.model.diffusion import TIMESTEPS
from extensions.model.losses import Losses


def draw(
    latents: torch.Tensor, accelerator, low: int = 0, high: int = TIMESTEPS, shapes: list[list[int]] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise like `latents` (b, 4, h, w) and timesteps int64 (b,) from [low, high), for this process.

    Every process draws what all of them need, in the order of their batches, and keeps its own part: n
    processes then see exactly what one process would see that trains their batches one after the other.
    Upstream seeds all processes alike and lets each draw for itself, so that with n GPUs every n-th batch
    has the same timesteps and, at equal sizes, the same noise. With one process the draws are upstream's.
    shapes: of each process's latents, where they are known; else they are asked for, and all wait for the slowest.
    """
    mine = None
    for process, shape in enumerate(shapes or shapes_of_all(latents, accelerator)):
        noise = torch.randn(shape, dtype=latents.dtype, device=latents.device)
        # On the CPU, as upstream does: the same timesteps whatever the device.
        timesteps = timesteps_of(shape, process, low, high)
        if process == accelerator.process_index:
            mine = noise, timesteps.to(latents.device)
    return mine


def timesteps_of(shape: list[int], process: int, low: int, high: int) -> torch.Tensor:
    """Return the timesteps of a process's batch, (b,): a plugin's, else int64 from [low, high)."""
    drawn = manager.current().hook.draw_timesteps(run=loop.current(), shape=shape, process=process)
    if drawn is not None:
        return drawn
    count = (shape[0],)
    return torch.randint(low, high, count) if low < high else torch.full(count, high)


def add(schedule: DDPMScheduler, latents, noise, timesteps) -> torch.Tensor:
    """Return the latents with their noise: a plugin's, else the schedule's."""
    noisy = manager.current().hook.noise_latents(latents=latents, noise=noise, timesteps=timesteps)
    return schedule.add_noise(latents, noise, timesteps) if noisy is None else noisy


def shapes_of_all(latents: torch.Tensor, accelerator) -> list[list[int]]:
    """Return the shape of each process's latents, in the order of the processes (buckets differ in size)."""
    if accelerator.num_processes == 1:
        return [list(latents.shape)]
    return gather(torch.tensor([latents.shape], device=latents.device)).tolist()


def target_of(schedule: DDPMScheduler, latents, noise, timesteps, v_parameterization: bool) -> torch.Tensor:
    """Return what the U-Net should predict: what a plugin says, else the noise, or v (arXiv 2202.00512)."""
    target = manager.current().hook.target(latents=latents, noise=noise, timesteps=timesteps)
    if target is not None:
        return target
    return schedule.get_velocity(latents, noise, timesteps) if v_parameterization else noise


def snr_weight(schedule: DDPMScheduler, timesteps, gamma: float, v_parameterization: bool) -> torch.Tensor:
    """float32 (b,): min(SNR, gamma) / SNR; for v-prediction / (SNR + 1) (arXiv 2303.09556)."""
    snr = schedule.snr.to(timesteps.device)[timesteps]
    return snr.clamp(max=gamma) / (snr + 1 if v_parameterization else snr)


def debiased_weight(schedule: DDPMScheduler, timesteps, v_parameterization: bool) -> torch.Tensor:
    """float32 (b,): 1 / sqrt(SNR), of an SNR of 1000 at most; for v-prediction 1 / (SNR + 1) (arXiv 2310.08442)."""
    snr = schedule.snr.to(timesteps.device)[timesteps].clamp(max=1000)
    return 1 / (snr + 1) if v_parameterization else 1 / snr.sqrt()


def loss_of(predicted, target, weight: torch.Tensor | None, timesteps: torch.Tensor) -> torch.Tensor:
    """Mean squared error in float32, a scalar, as plugins weigh it; weight: the flags' own, (b,) or None."""
    predicted, target, plugins = predicted.float(), target.float(), manager.current()
    error = torch.nn.functional.mse_loss(predicted, target, reduction="none")
    weighed = plugins.answers("weigh_loss")
    if weight is None and not weighed:
        return error.mean()
    losses = Losses(error.mean([1, 2, 3]), predicted, target, timesteps)
    if weighed:
        plugins.hook.weigh_loss(run=loop.current(), losses=losses)
    return (losses.values if weight is None else losses.values * weight).mean()
