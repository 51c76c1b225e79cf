"""Weights by SNR against what the papers say of the error of image and noise; pseudo-Huber against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extensions.objectives import weights


def scales(zero: bool):
    """float64 (1000,): a and b of the schedule, from its betas."""
    a = np.sqrt(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))
    if zero:
        a = (a - a[-1]) * a[0] / (a[0] - a[-1])
    return a, np.sqrt(1 - a**2)


def errors(v: bool, zero: bool, seed: int):
    """Of a prediction with some error at each timestep: its own squared error, that of x0, that of the noise."""
    a, b = scales(zero)
    x, e, off = np.random.default_rng(seed).standard_normal((3, 1000))
    noisy = a * x + b * e
    if v:
        said = (a * e - b * x) + off
        return off**2, (a * noisy - b * said - x) ** 2, (b * noisy + a * said - e) ** 2
    with np.errstate(divide="ignore"):  # at SNR 0
        return off**2, ((noisy - b * (e + off)) / a - x) ** 2, off**2


@pytest.mark.parametrize("zero", [False, True], ids=["plain", "zero terminal SNR"])
@pytest.mark.parametrize("v", [False, True], ids=["epsilon", "v"])
@given(seed=st.integers(0, 2**31), gamma=st.sampled_from([0.5, 5.0, 20.0]))
def test_min_snr_is_the_error_of_the_image_times_snr_up_to_gamma(v, zero, seed, gamma):
    """arXiv 2303.09556, eq. 4, at the SNR that is trained at; at SNR 0 the image is not to be had from noise."""
    a, b = scales(zero)
    own, image, _ = errors(v, zero, seed)
    found = weights.min_snr(weights.snr(zero), gamma, v).numpy() * own
    assert np.isfinite(found).all()
    seen = a > 1e-3
    np.testing.assert_allclose(found[seen], np.minimum((a / b) ** 2, gamma)[seen] * image[seen], rtol=2e-3)
    if zero:
        assert found[-1] == (0 if v else own[-1])


@pytest.mark.parametrize(("v", "zero"), [(False, False), (True, False), (True, True)])
@given(seed=st.integers(0, 2**31))
def test_debiased_is_the_error_of_the_noise_over_the_root_of_snr(v, zero, seed):
    """arXiv 2310.08442: lambda' = 1 / sqrt(SNR) on the loss of the noise."""
    a, b = scales(zero)
    own, _, noise = errors(v, zero, seed)
    found = weights.debiased(weights.snr(zero), v).numpy() * own
    seen = a > 1e-3
    np.testing.assert_allclose(found[seen], (noise * b / np.maximum(a, 1e-9))[seen], rtol=5e-3)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("v", "zero"), [(False, False), (True, False), (True, True)])
@given(seed=st.integers(0, 2**31))
def test_velocity_is_the_error_of_flow_through_the_change_of_variables(v, zero, seed):
    """arXiv 2506.02221: the U-Net's x_t is (a + b) x_s; its prediction becomes both ends of flow's line."""
    a, b = scales(zero)
    x, e, off = np.random.default_rng(seed).standard_normal((3, 1000))
    s = b / (a + b)
    noisy = ((1 - s) * x + s * e) * (a + b)
    said = (a * e - b * x if v else e) + off
    with np.errstate(divide="ignore"):
        noise, image = (b * noisy + a * said, a * noisy - b * said) if v else (said, (noisy - b * said) / a)
    wanted = ((noise - image) - (e - x)) ** 2
    found = weights.velocity(weights.snr(zero), v).numpy() * off**2
    seen = a > 1e-3
    np.testing.assert_allclose(found[seen], wanted[seen], rtol=5e-3)
    assert np.isfinite(found).all()


def test_by_snr_weights_are_float64_and_of_every_timestep():
    for zero in (False, True):
        ratio = weights.snr(zero)
        assert ratio.dtype == torch.float64 and ratio.shape == (1000,) and (ratio.diff() < 0).all()
    assert ratio[-1] == 0


@pytest.mark.parametrize("delta", [0.01, 0.1, 3.0])
def test_pseudo_huber_is_its_definition_and_sd_scripts(delta, patched):
    import inspect

    from library import train_util

    generator = torch.Generator().manual_seed(1)
    predicted, target = torch.randn(2, 3, 4, 6, 5, generator=generator)
    found = weights.pseudo_huber(predicted, target, delta)
    error = (predicted - target).double().numpy()
    wanted = (2 * delta * (np.sqrt(error**2 + delta**2) - delta)).mean((1, 2, 3))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
    threshold = torch.full((3,), delta)
    theirs = inspect.unwrap(train_util.conditional_loss)(predicted, target, "huber", "none", threshold)
    torch.testing.assert_close(found, theirs.mean([1, 2, 3]), rtol=1e-4, atol=1e-6)


def test_small_errors_count_squared_and_large_ones_once():
    zero = torch.zeros(2, 1, 1, 1)
    found = weights.pseudo_huber(torch.tensor([1e-3, 100.0]).view(2, 1, 1, 1), zero, 1.0)
    assert found.tolist() == pytest.approx([1e-6, 2 * 100], rel=2e-2)
