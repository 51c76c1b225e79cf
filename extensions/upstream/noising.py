"""Wraps the moments at which upstream makes what a micro-step learns: timesteps, noisy latents, target, loss.

Upstream's loops call these functions by attribute, one after the other; what one of them has seen the next needs, and
is kept between them. Their first argument is upstream's own function, as in `wrappers.py`.
"""

from dataclasses import dataclass

import torch

from extensions import loop, manager
from extensions.model.losses import Losses
from extensions.upstream.alphas import adder_of


@dataclass
class MicroStep:
    """What is known of the micro-step under way. shape: of its latents. target: a plugin's; None: upstream's own."""

    shape: torch.Size | None = None
    timesteps: torch.Tensor | None = None
    target: torch.Tensor | None = None


_now = MicroStep()


def draw_noise(upstream, args, noise_scheduler, latents):
    """Upstream's noise and timesteps, or plugins', without the way of the alphas back; then the plugins' target.

    Upstream's loops use the noise that they are given for one thing, the target: a plugin's stands in its place.
    """
    hook = manager.current().hook
    _now.shape, _now.target = latents.shape, None
    noise, noisy, _now.timesteps = upstream(args, adder_of(noise_scheduler), latents)
    _now.target = hook.target(latents=latents, noise=noise, timesteps=_now.timesteps)
    hook.timesteps_drawn(timesteps=_now.timesteps)
    return noise if _now.target is None else _now.target, noisy, _now.timesteps


def draw_timesteps(upstream, min_timestep, max_timestep, b_size, device):
    """Return a plugin's timesteps, or upstream's."""
    run = loop.current()
    process = run.accelerator.process_index if run else 0
    drawn = manager.current().hook.draw_timesteps(run=run, shape=_now.shape, process=process)
    return upstream(min_timestep, max_timestep, b_size, device) if drawn is None else drawn.to(device)


def velocity(upstream, schedule, sample, noise, timesteps):
    """Return a plugin's target, which --v_parameterization would turn into v, as it is; else upstream's v."""
    return noise if noise is _now.target else upstream(schedule, sample, noise, timesteps)


def loss(upstream, model_pred, target, loss_type, reduction, huber_c=None):
    """Return upstream's loss with the plugins' weights; its own are multiplied on afterwards, sample by sample."""
    plugins = manager.current()
    if not plugins.answers("weigh_loss"):
        return upstream(model_pred, target, loss_type, reduction, huber_c)
    own = upstream(model_pred, target, loss_type, "none", huber_c).mean([1, 2, 3])
    losses = Losses(own, model_pred, target, _now.timesteps)
    plugins.hook.weigh_loss(run=loop.current(), losses=losses)
    return losses.values.mean() if reduction == "mean" else losses.values.view(-1, 1, 1, 1)
