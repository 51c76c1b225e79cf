"""Keeps a noise schedule's alphas on the latents' device, where upstream fetches them back at every micro-step.

`add_noise` of diffusers moves `alphas_cumprod` to the device of the latents, and upstream's
`get_noise_noisy_latents_and_timesteps` moves it back to the CPU afterwards: a copy from the device, for which the
processor waits until everything before it is computed. With this the schedule itself stays where it is, and a copy of
it on the device adds the noise: the same numbers.
"""

import copy
from typing import Any
from weakref import WeakKeyDictionary

import torch

from extensions import manager

_adders: "WeakKeyDictionary[Any, Adder]" = WeakKeyDictionary()


class Adder:
    """Stands for a schedule in one call: adds noise by a copy on the device, shows the schedule's own alphas."""

    def __init__(self, schedule):
        self.config = schedule.config
        self.alphas_cumprod = self.source = schedule.alphas_cumprod
        self._copy = copy.copy(schedule)

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Add noise as a plugin does, or as the schedule does; its alphas move once."""
        noisy = manager.current().hook.noise_latents(latents=latents, noise=noise, timesteps=timesteps)
        return self._copy.add_noise(latents, noise, timesteps) if noisy is None else noisy


def adder_of(schedule) -> Adder:
    """Return what stands for a schedule; a new one where somebody has changed its alphas."""
    known = _adders.get(schedule)
    if known is None or known.source is not schedule.alphas_cumprod:
        known = _adders[schedule] = Adder(schedule)
    known.alphas_cumprod = known.source  # upstream sets it to itself on the CPU
    return known
