"""Holds what a run trains as whoever looks at its models needs it: scales of image and noise, targets, a sampler.

x = a x_0 + b noise: for epsilon and v by the noise schedule's timesteps, for rectified flow with b = s, a = 1 - s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from extensions.evaluation import strata
from extensions.flags import settings
from extensions.model.diffusion import TIMESTEPS, scheduler
from extensions.model.prediction import EPSILON, FLOW, V
from extensions.objectives import flow

if TYPE_CHECKING:
    import torch
    from diffusers import EulerDiscreteScheduler


@dataclass(frozen=True)
class Objective:
    """What is predicted: EPSILON, V or FLOW; whether the schedule ends at SNR 0; the shift of flow's samples."""

    prediction: str = EPSILON
    zero_snr: bool = False
    flow_shift: float | str = 1.0

    @cached_property
    def alphas_cumprod(self) -> torch.Tensor:
        """Of the schedule, float32 (1000,); flow has none."""
        return scheduler(self.zero_snr).alphas_cumprod

    def timesteps_at(self, points: list[float]) -> torch.Tensor:
        """Return the timesteps with these log-SNRs, (n,): of a schedule int64, the nearest; of flow float32."""
        import torch

        if self.prediction == FLOW:
            return torch.tensor([TIMESTEPS / (1 + math.exp(at / 2)) for at in points])
        return strata.timesteps_at(points, self.alphas_cumprod)

    def scales(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (a, b) at a timestep, float32."""
        if self.prediction == FLOW:
            return 1 - timestep / TIMESTEPS, timestep / TIMESTEPS
        share = self.alphas_cumprod[timestep]
        return share.sqrt(), (1 - share).sqrt()

    def target(self, clean: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Return what should be predicted."""
        if self.prediction == FLOW:
            return flow.target(clean, noise)
        a, b = self.scales(timestep)
        return a * noise - b * clean if self.prediction == V else noise

    def x0_errors(self, losses: list[float], timesteps: torch.Tensor) -> list[float]:
        """Return the errors of the clean latents that predictions with these losses mean: of flow s^2 L."""
        if self.prediction == FLOW:
            levels = (timesteps.double() / TIMESTEPS).tolist()
            return [level**2 * loss for loss, level in zip(losses, levels, strict=True)]
        shares = self.alphas_cumprod[timesteps].double().tolist()
        v = self.prediction == V
        return [strata.x0_error(loss, share, v) for loss, share in zip(losses, shares, strict=True)]

    def sampler(self, steps: int, pixels: int, device=None) -> Any:
        """Return diffusers' Euler scheduler, ready for so many steps.

        Steps of a schedule are trailing: they begin at the last timestep, without which a model that was trained to
        zero terminal SNR is never asked where it starts (arXiv 2305.08891, sec. 3.3). Flow's begin at s = 1.
        """
        if self.prediction != FLOW:
            made = scheduler_of(self.prediction == V, self.zero_snr)
            made.set_timesteps(steps, device=device)
            return made
        from diffusers import FlowMatchEulerDiscreteScheduler

        made = FlowMatchEulerDiscreteScheduler(TIMESTEPS, shift=flow.shift_of(self.flow_shift, pixels))
        made.set_timesteps(sigmas=[1 - number / steps for number in range(steps)], device=device)
        return made


def scheduler_of(v_parameterization: bool, zero_terminal_snr: bool) -> EulerDiscreteScheduler:
    """Return the scheduler for an objective with a noise schedule."""
    from diffusers import EulerDiscreteScheduler

    return EulerDiscreteScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction" if v_parameterization else "epsilon",
        rescale_betas_zero_snr=zero_terminal_snr,
        timestep_spacing="trailing",
    )


def of_args(args) -> Objective:
    """Read a run's objective off its parsed flags."""
    asked = settings.of_args(args)
    return Objective(asked.prediction, asked.zero_snr, asked.flow_shift)
