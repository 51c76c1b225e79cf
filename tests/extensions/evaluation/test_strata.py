"""Strata of log-SNR against diffusers' own SNR; x_0's error against the papers' formulas, from one prediction."""

import argparse
import math

import pytest
import torch
from diffusers.training_utils import compute_snr
from hypothesis import given
from hypothesis import strategies as st

from extensions.evaluation import strata
from extensions.model.diffusion import scheduler

SCHEDULES = {zero: scheduler(zero) for zero in (False, True)}


def test_the_range_is_stable_diffusions():
    schedule = SCHEDULES[False]
    ends = compute_snr(schedule, torch.tensor([0, 999])).log().tolist()
    assert pytest.approx(ends, abs=5e-3) == (strata.HIGHEST, strata.LOWEST)


@given(seed=st.integers(0, 2**40), key=st.text(max_size=8), count=st.integers(1, 100), data=st.data())
def test_a_point_is_in_its_stratum(seed, key, count, data):
    number = data.draw(st.integers(0, count - 1))
    above, below = strata.edges(count)[number : number + 2]
    assert below <= strata.point(seed, key, number, count) <= above
    assert strata.point(seed, key, number, count) == strata.point(seed, key, number, count)


def test_the_points_of_many_images_cover_a_stratum():
    """Their mean is its middle, to within five standard errors of a uniform draw."""
    above, below = strata.edges(8)[3:5]
    points = [strata.point(0, f"image-{number}", 3, 8) for number in range(2000)]
    assert abs(sum(points) / 2000 - (above + below) / 2) < 5 * (above - below) / math.sqrt(12 * 2000)


@pytest.mark.parametrize("zero", [False, True], ids=["plain", "zero terminal SNR"])
def test_the_timestep_is_the_one_nearest_in_log_snr(zero):
    schedule = SCHEDULES[zero]
    found = compute_snr(schedule, torch.arange(1000)).double().log()
    points = torch.linspace(strata.LOWEST, strata.HIGHEST, 57).double()
    nearest = strata.timesteps_at(points.tolist(), schedule.alphas_cumprod)
    far = (found[None] - points[:, None]).abs()
    assert (far.gather(1, nearest[:, None])[:, 0] <= far.min(1).values + 1e-3).all()


def test_noise_is_normal_and_a_function_of_seed_id_and_stratum():
    noise = strata.noise(1, "a", 2, (4, 64, 64))
    assert noise.dtype == torch.float32 and abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05
    torch.rand(3)
    assert torch.equal(noise, strata.noise(1, "a", 2, (4, 64, 64)))
    for other in (strata.noise(2, "a", 2, (4, 64, 64)), strata.noise(1, "b", 2, (4, 64, 64)),
                  strata.noise(1, "a", 3, (4, 64, 64))):  # fmt: skip
        assert abs(torch.corrcoef(torch.stack([noise.flatten(), other.flatten()]))[0, 1]) < 0.05


@given(timestep=st.integers(0, 999), seed=st.integers(0, 1000), zero=st.booleans())
def test_epsilon_and_v_from_one_prediction_have_its_error_of_x0(timestep, seed, zero):
    """arXiv 2202.00512: v = a eps - b x_0, so x_0 = a x_t - b v; DDPM: x_0 = (x_t - b eps) / a."""
    share = SCHEDULES[zero].alphas_cumprod[timestep].double()
    a, b = share.sqrt(), (1 - share).sqrt()
    clean, noise, guess = torch.randn(3, 64, generator=torch.Generator().manual_seed(seed)).double()
    noisy = a * clean + b * noise
    v = a * noise - b * clean
    v_hat = v + guess
    wanted = ((a * noisy - b * v_hat) - clean).square().mean()
    found = strata.x0_error((v_hat - v).square().mean().item(), share.item(), True)
    assert found == pytest.approx(wanted.item(), rel=1e-9)
    if share > 0:
        epsilon_hat = noise + guess
        wanted = ((noisy - b * epsilon_hat) / a - clean).square().mean()
        found = strata.x0_error((epsilon_hat - noise).square().mean().item(), share.item(), False)
        assert found == pytest.approx(wanted.item(), rel=1e-6)


def test_names_are_the_borders():
    assert strata.names(2) == ["log-SNR 7.07 to 0.86", "log-SNR 0.86 to -5.36"]


@pytest.mark.parametrize("zero", [False, True], ids=["plain", "zero terminal SNR"])
def test_a_trainings_losses_are_sorted_by_log_snr(zero):
    made = strata.Strata(argparse.Namespace(zero_terminal_snr=zero))
    borders = strata.edges(strata.Strata.COUNT)
    found = compute_snr(SCHEDULES[zero], torch.arange(1000)).double().log()
    for timestep in range(1000):
        (name,) = made.means([1.0], [torch.tensor([timestep])])
        above, below = borders[number := made.names.index(name)], borders[number + 1]
        at = min(max(found[timestep].item(), strata.LOWEST), strata.HIGHEST)
        assert below - 1e-3 <= at <= above + 1e-3
    assert len(set(made.of_timestep)) == strata.Strata.COUNT


def test_means_are_by_stratum_and_only_for_batches_of_one():
    made = strata.Strata(argparse.Namespace())
    drawn = [torch.tensor([timestep]) for timestep in (0, 999, 1)]
    assert made.means([1.0, 5.0, 2.0], drawn) == {made.names[0]: 1.5, made.names[-1]: 5.0}
    assert made.means([1.0], [torch.tensor([1, 2])]) == {} == made.means([1.0, 2.0], drawn[:1])


def test_flows_losses_are_sorted_by_its_own_log_snr():
    """log-SNR of x_s = (1 - s) x_0 + s noise is 2 log((1 - s) / s)."""
    flags = argparse.Namespace(extensions="objective", objective="flow")
    made, borders = strata.Strata(flags), strata.edges(strata.Strata.COUNT)
    for timestep in (0.0, 0.3, 20.25, 500.5, 900.0, 999.75, 1000.0):
        level = timestep / 1000
        ratio = ((1 - level) / level) ** 2 if level else float("inf")
        at = min(max(math.log(ratio) if ratio else -99, strata.LOWEST), strata.HIGHEST)
        (name,) = made.means([1.0], [torch.tensor([timestep])])
        number = made.names.index(name)
        assert borders[number + 1] - 1e-6 <= at <= borders[number] + 1e-6
