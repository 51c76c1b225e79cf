"""Upstream's draw with the alphas where they are: the same numbers, and nothing comes back from the device."""

import argparse
import copy

import pytest
import torch

from extensions.model import diffusion
from extensions.upstream.alphas import adder_of

LATENTS = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
FLAGS = {
    "noise_offset": 0.05, "noise_offset_random_strength": False, "adaptive_noise_scale": None,
    "multires_noise_iterations": None, "min_timestep": None, "max_timestep": None, "ip_noise_gamma": 0.1,
    "ip_noise_gamma_random_strength": False,
}  # fmt: skip


@pytest.fixture
def draw(patched, monkeypatch):
    """Upstream's own function, whatever wraps it."""
    monkeypatch.syspath_prepend(str(patched))
    from library import train_util

    found = train_util.get_noise_noisy_latents_and_timesteps
    return getattr(found, "__wrapped__", found)


@pytest.mark.upstream
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_draw_is_upstreams(draw, dtype):
    found = []
    for stands_for in (lambda schedule: schedule, adder_of):
        torch.manual_seed(7)
        schedule = diffusion.scheduler(False)
        for _ in range(3):  # upstream's second draw finds what its first has left
            drawn = draw(argparse.Namespace(**FLAGS), stands_for(schedule), LATENTS.to(dtype))
        found.append(drawn)
    assert all(one.equal(other) for one, other in zip(*found, strict=True))


@pytest.mark.upstream
def test_nothing_comes_back_from_the_device(draw):
    """The device "meta" has no numbers: what would be copied off it is an error, as upstream's draw is there."""
    schedule, latents = diffusion.scheduler(False), torch.empty(2, 4, 8, 8, device="meta")
    flags = argparse.Namespace(**FLAGS | {"noise_offset": None})
    for _ in range(2):
        noisy = draw(flags, adder_of(schedule), latents)[1]
        assert noisy.device.type == "meta" and schedule.alphas_cumprod.device.type == "cpu"
    with pytest.raises(NotImplementedError, match="no data"):
        draw(flags, copy.copy(schedule), latents)


def test_a_schedule_whose_alphas_are_changed_is_copied_anew():
    """--zero_terminal_snr changes them; get_velocity moves them."""
    schedule = diffusion.scheduler(False)
    first = adder_of(schedule)
    assert adder_of(schedule) is first
    schedule.alphas_cumprod = schedule.alphas_cumprod / 2
    second = adder_of(schedule)
    noise, at = torch.ones_like(LATENTS), torch.tensor([500, 900])
    assert second is not first
    assert second.add_noise(LATENTS, noise, at).equal(copy.copy(schedule).add_noise(LATENTS, noise, at))
