"""What plugins answer reaches upstream's own loop lines; without an answer every number is upstream's."""

import argparse
import inspect
from types import SimpleNamespace

import pytest
import torch

from extensions import loop, manager
from extensions.hookspecs import hookimpl
from extensions.model import diffusion
from extensions.upstream import seams
from tests.helpers.answering import Answers

pytestmark = pytest.mark.upstream
FLAGS = {
    "noise_offset": None, "noise_offset_random_strength": False, "adaptive_noise_scale": None,
    "multires_noise_iterations": None, "min_timestep": None, "max_timestep": None, "ip_noise_gamma": None,
    "ip_noise_gamma_random_strength": False,
}  # fmt: skip
LATENTS = torch.randn(2, 4, 8, 6, generator=torch.Generator().manual_seed(1))
PREDICTED = torch.randn(2, 4, 8, 6, generator=torch.Generator().manual_seed(2))


class Told(Answers):
    """Answers each of the hooks with something that can be told from the trainer's own."""

    def __init__(self):
        self.asked, self.told = [], []

    @hookimpl
    def draw_timesteps(self, run, shape, process):
        self.asked.append((run, tuple(shape), process))
        return torch.tensor([250.5, 0.25])

    @hookimpl
    def timesteps_drawn(self, timesteps):
        self.told.append(timesteps)


@pytest.fixture
def train_util(patched):
    from library import train_util

    seams.install()
    return train_util


@pytest.fixture
def plugin(monkeypatch):
    """Two of them: the first listed answers, and both weigh."""
    made, first = manager.Manager(), Told()
    made.register("doubles", Doubles())
    made.register("answers", first)
    monkeypatch.setattr(manager, "_current", made)
    run = SimpleNamespace(accelerator=SimpleNamespace(process_index=3))
    monkeypatch.setattr(loop, "_run", run)
    return first


class Doubles:
    @hookimpl
    def draw_timesteps(self):
        return torch.tensor([1, 1])

    @hookimpl
    def weigh_loss(self, losses):
        losses.values = losses.values * 2


def lines_of_the_loop(train_util, v, predicted=PREDICTED, weighted=False):
    """What sdxl_train.py does, from the noise to the loss."""
    schedule = diffusion.scheduler(False)
    args = argparse.Namespace(**FLAGS)
    noise, noisy, timesteps = train_util.get_noise_noisy_latents_and_timesteps(args, schedule, LATENTS)
    target = schedule_of_upstream().get_velocity(LATENTS, noise, timesteps) if v else noise
    how = "none" if weighted else "mean"
    loss = train_util.conditional_loss(predicted.float(), target.float(), "l2", how, None)
    return noisy, timesteps, target, loss


def schedule_of_upstream():
    """diffusers' own class, as upstream makes it."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)


@pytest.mark.parametrize("v", [False, True], ids=["eps", "v"])
def test_a_plugins_answers_reach_the_loop(train_util, plugin, v):
    torch.manual_seed(4)
    noise = torch.randn_like(LATENTS)
    torch.manual_seed(4)
    noisy, timesteps, target, loss = lines_of_the_loop(train_util, v)
    assert timesteps.tolist() == [250.5, 0.25] and plugin.told[0] is timesteps
    assert plugin.asked == [(loop.current(), (2, 4, 8, 6), 3)]
    torch.testing.assert_close(noisy, LATENTS + 1000 * timesteps.view(-1, 1, 1, 1), rtol=0, atol=0)
    torch.testing.assert_close(target, 3 * noise - LATENTS, rtol=0, atol=0)
    each = (PREDICTED - target).square().mean([1, 2, 3]) * torch.tensor([251.5, 1.25]) * 2
    torch.testing.assert_close(loss, each.mean())


def test_upstreams_own_weights_are_multiplied_on(train_util, plugin):
    """Its loop takes the mean over each sample of what it is given."""
    *_, target, loss = lines_of_the_loop(train_util, False, weighted=True)
    each = (PREDICTED - target).square().mean([1, 2, 3]) * torch.tensor([251.5, 1.25]) * 2
    torch.testing.assert_close(loss.mean([1, 2, 3]), each)


def test_a_weight_reaches_the_gradient(train_util, plugin):
    predicted = PREDICTED.clone().requires_grad_()
    *_, target, loss = lines_of_the_loop(train_util, False, predicted)
    loss.backward()
    weight = (torch.tensor([251.5, 1.25]) * 2 / predicted.numel()).view(-1, 1, 1, 1)
    torch.testing.assert_close(predicted.grad, 2 * weight * (PREDICTED - target))


@pytest.mark.parametrize("v", [False, True], ids=["eps", "v"])
@pytest.mark.parametrize("weighted", [False, True])
def test_without_an_answer_every_bit_is_upstreams(train_util, v, weighted):
    torch.manual_seed(4)
    ours = lines_of_the_loop(train_util, v, weighted=weighted)
    own = {name: inspect.unwrap(getattr(train_util, name)) for name in ("get_timesteps", "conditional_loss")}
    torch.manual_seed(4)
    schedule = schedule_of_upstream()
    noise = torch.randn_like(LATENTS)
    timesteps = own["get_timesteps"](0, 1000, 2, LATENTS.device)
    target = inspect.unwrap(type(schedule).get_velocity)(schedule, LATENTS, noise, timesteps) if v else noise
    how = "none" if weighted else "mean"
    theirs = (
        schedule.add_noise(LATENTS, noise, timesteps), timesteps, target,
        own["conditional_loss"](PREDICTED, target, "l2", how, None),
    )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_target_of_the_step_before_is_forgotten(train_util, plugin, monkeypatch):
    first = lines_of_the_loop(train_util, True)[2]
    monkeypatch.setattr(manager, "_current", manager.Manager())
    schedule = schedule_of_upstream()
    drawn = train_util.get_noise_noisy_latents_and_timesteps(argparse.Namespace(**FLAGS), schedule, LATENTS)
    assert not torch.equal(schedule.get_velocity(LATENTS, first, drawn[2]), first)
