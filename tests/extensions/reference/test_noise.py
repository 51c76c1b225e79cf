"""Noise, timesteps, schedule, weights and loss: upstream's with one process, one process's order with several."""

import argparse
import inspect
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions import manager
from extensions.hookspecs import hookimpl
from extensions.model import diffusion
from extensions.reference import noise
from tests.helpers.answering import Answers

ONE = SimpleNamespace(num_processes=1, process_index=0)
SHAPES = st.lists(
    st.tuples(st.integers(1, 3), st.just(4), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5
)
OFF = ("noise_offset", "multires_noise_iterations", "min_timestep", "max_timestep", "ip_noise_gamma")


def latents(shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "zero terminal SNR"])
def schedules(request, patched):
    """(zero terminal SNR?, ours, upstream's)."""
    from library import custom_train_functions as upstream

    theirs = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, clip_sample=False
    )
    upstream.prepare_scheduler_for_custom_training(theirs, "cpu")
    if request.param:
        upstream.fix_noise_scheduler_betas_for_zero_terminal_snr(theirs)
    return request.param, diffusion.scheduler(request.param), theirs


def test_zero_terminal_snr_is_diffusers():
    made = diffusion.scheduler(False)
    ours = diffusion.with_zero_terminal_snr(made.alphas_cumprod)
    theirs = torch.cumprod(1 - rescale_zero_terminal_snr(made.betas.double()), 0)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-7)
    assert ours[-1] == 0 and ours[0] == made.alphas_cumprod[0]
    assert torch.equal(diffusion.scheduler(True).alphas_cumprod, ours)


@pytest.mark.upstream
def test_the_schedule_is_upstreams(schedules):
    rescaled, ours, theirs = schedules
    # With zero terminal SNR upstream goes through betas and back, in float32.
    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod, rtol=0, atol=1e-6 if rescaled else 0)
    x, e, t = latents((7, 4, 8, 8)), latents((7, 4, 8, 8), 2), torch.tensor([0, 1, 250, 500, 750, 998, 999])
    torch.testing.assert_close(ours.add_noise(x, e, t), theirs.add_noise(x, e, t), rtol=0, atol=1e-5)
    for v in (False, True):
        target = noise.target_of(ours, x, e, t, v)
        torch.testing.assert_close(target, theirs.get_velocity(x, e, t) if v else e, rtol=0, atol=1e-5)


@pytest.mark.upstream
@pytest.mark.parametrize("v", [False, True], ids=["eps", "v"])
@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_weights_are_upstreams(schedules, gamma, v):
    from library.custom_train_functions import apply_snr_weight

    _, ours, theirs = schedules
    timesteps = torch.arange(1000)
    weight = noise.snr_weight(ours, timesteps, gamma, v)
    torch.testing.assert_close(weight, apply_snr_weight(torch.ones(1000), timesteps, theirs, gamma, v))
    assert weight.dtype == torch.float32


@pytest.mark.upstream
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 4, 128, 96), (3, 4, 7, 5)])
def test_draws_are_upstreams(schedules, dtype, shape):
    from library import train_util

    _, ours, theirs = schedules
    batch = latents(shape).to(dtype)
    torch.manual_seed(5)
    draw = inspect.unwrap(train_util.get_noise_noisy_latents_and_timesteps)
    args = argparse.Namespace(**dict.fromkeys(OFF))
    expected = [draw(args, theirs, batch) for _ in range(3)]
    state = torch.get_rng_state()
    torch.manual_seed(5)
    for drawn, noisy, timesteps in expected:
        our_noise, our_timesteps = noise.draw(batch, ONE)
        assert torch.equal(our_noise, drawn) and our_noise.dtype == dtype
        assert torch.equal(our_timesteps, timesteps) and our_timesteps.dtype == timesteps.dtype
        torch.testing.assert_close(ours.add_noise(batch, our_noise, our_timesteps), noisy)
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=50)
@given(steps=st.lists(SHAPES, min_size=1, max_size=3), seed=st.integers(0, 2**31))
def test_several_processes_draw_what_one_draws_for_the_same_batches(steps, seed):
    """steps: one list of shapes a micro-step, one shape a process."""
    processes = len(steps[0])
    steps = [(shapes * processes)[:processes] for shapes in steps]
    torch.manual_seed(seed)
    one = [noise.draw(torch.empty(shape), ONE) for shapes in steps for shape in shapes]
    state = torch.get_rng_state()
    for index in range(processes):
        torch.manual_seed(seed)
        accelerator = SimpleNamespace(num_processes=processes, process_index=index)
        with pytest.MonkeyPatch.context() as patch:
            for number, shapes in enumerate(steps):
                patch.setattr(noise, "shapes_of_all", lambda *_, shapes=shapes: shapes)
                ours = noise.draw(torch.empty(shapes[index]), accelerator)
                expected = one[number * processes + index]
                assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))
        assert torch.equal(torch.get_rng_state(), state), "all processes must stay in step"


def test_shapes_are_gathered_in_the_order_of_the_processes(monkeypatch):
    """gather concatenates; one row a process must come back as one shape a process."""
    monkeypatch.setattr(noise, "gather", lambda row: torch.cat([row, torch.tensor([[2, 4, 8, 16]])]))
    accelerator = SimpleNamespace(num_processes=2, process_index=0)
    assert noise.shapes_of_all(torch.empty(1, 4, 32, 24), accelerator) == [[1, 4, 32, 24], [2, 4, 8, 16]]


def test_known_shapes_are_not_asked_for(monkeypatch):
    """A gathering in each micro-step would make all wait for the slowest in each."""
    monkeypatch.setattr(noise, "gather", lambda row: torch.cat([torch.tensor([[2, 4, 8, 16]]), row]))
    mine, accelerator = torch.empty(1, 4, 32, 24), SimpleNamespace(num_processes=2, process_index=1)
    torch.manual_seed(1)
    asked = noise.draw(mine, accelerator)
    monkeypatch.setattr(noise, "gather", None)
    torch.manual_seed(1)
    known = noise.draw(mine, accelerator, shapes=[[2, 4, 8, 16], [1, 4, 32, 24]])
    assert all(torch.equal(a, b) for a, b in zip(asked, known, strict=True))


def test_loss_is_torchs_mean_squared_error_in_float32():
    predicted, target = latents((3, 4, 8, 6)).bfloat16(), latents((3, 4, 8, 6), 2)
    loss = noise.loss_of(predicted, target, None, torch.zeros(3))
    assert loss.dtype == torch.float32 and loss.shape == ()
    torch.testing.assert_close(loss, torch.nn.functional.mse_loss(predicted.float(), target))
    weight = torch.tensor([0.5, 0.0, 2.0])
    each = [torch.nn.functional.mse_loss(p.float(), t) for p, t in zip(predicted, target, strict=True)]
    loss = noise.loss_of(predicted, target, weight, torch.zeros(3))
    torch.testing.assert_close(loss, (0.5 * each[0] + 2 * each[2]) / 3)


class Told(Answers):
    """Answers each of the hooks with something that can be told from the trainer's own."""

    def __init__(self):
        self.asked = []

    @hookimpl
    def draw_timesteps(self, shape, process):
        self.asked.append((list(shape), process))
        return torch.full(shape[:1], process + 0.5)


def test_a_plugins_answers_are_taken(monkeypatch):
    """Every process is asked about, in their order; a draw from the random stream would stay in step."""
    plugin, made = Told(), manager.Manager()
    made.register("answers", plugin)
    monkeypatch.setattr(manager, "_current", made)
    shapes, accelerator = [[1, 4, 6, 8], [2, 4, 8, 8]], SimpleNamespace(num_processes=2, process_index=1)
    batch = latents(shapes[1])
    torch.manual_seed(5)
    expected = [torch.randn(shape) for shape in shapes][1]
    torch.manual_seed(5)
    drawn, timesteps = noise.draw(batch, accelerator, shapes=shapes)
    assert torch.equal(drawn, expected) and timesteps.tolist() == [1.5, 1.5]
    assert plugin.asked == [([1, 4, 6, 8], 0), ([2, 4, 8, 8], 1)]
    schedule = diffusion.scheduler(False)
    assert torch.equal(noise.add(schedule, batch, drawn, timesteps), batch + 1500)
    target = noise.target_of(schedule, batch, drawn, timesteps, True)
    assert torch.equal(target, 3 * drawn - batch)
    predicted, weight = latents(shapes[1], 3), torch.tensor([0.5, 2.0])
    each = (predicted - target).square().mean([1, 2, 3]) * 2.5
    torch.testing.assert_close(noise.loss_of(predicted, target, None, timesteps), each.mean())
    torch.testing.assert_close(noise.loss_of(predicted, target, weight, timesteps), (each * weight).mean())


@pytest.mark.upstream
@pytest.mark.parametrize("v", [False, True], ids=["eps", "v"])
def test_debiased_weights_are_upstreams(schedules, v):
    from library.custom_train_functions import apply_debiased_estimation

    _, ours, theirs = schedules
    weight = noise.debiased_weight(ours, torch.arange(1000), v)
    torch.testing.assert_close(weight, apply_debiased_estimation(torch.ones(1000), torch.arange(1000), theirs, v))
