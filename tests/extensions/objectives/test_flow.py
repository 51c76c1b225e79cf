"""Rectified flow against its papers' formulas in float64: x_s, the target, the way back, and the shift."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extensions.objectives import flow

LEVELS = st.lists(st.floats(0, 1), min_size=1, max_size=4)


def batch(levels, seed, dtype=torch.float32):
    """Latents, noise and the timesteps that the U-Net is told."""
    generator = torch.Generator().manual_seed(seed)
    x, e = (torch.randn(len(levels), 4, 6, 5, generator=generator).to(dtype) for _ in range(2))
    return x, e, 1000 * torch.tensor(levels, dtype=torch.float32)


@given(levels=LEVELS, seed=st.integers(0, 2**31), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_noisy_latents_and_target_are_the_definitions(levels, seed, dtype):
    """arXiv 2209.03003, eq. 1: a straight line from x_0 to noise, and its derivative by s."""
    x, e, timesteps = batch(levels, seed, dtype)
    noisy, target = flow.noised(x, e, timesteps), flow.target(x, e)
    assert noisy.dtype == dtype and target.dtype == torch.float32
    x, e = x.double().numpy(), e.double().numpy()
    s = np.array(levels).reshape(-1, 1, 1, 1)
    bound = 1e-6 if dtype == torch.float32 else 2**-8  # the last rounding alone
    np.testing.assert_allclose(noisy.double().numpy(), (1 - s) * x + s * e, rtol=bound, atol=bound)
    np.testing.assert_allclose(target.double().numpy(), e - x, rtol=1e-6, atol=1e-6)
    if dtype == torch.float32:  # from anywhere on the line the target leads to both ends
        line = noisy.double().numpy()
        np.testing.assert_allclose(line - s * target.numpy(), x, atol=1e-5)
        np.testing.assert_allclose(line + (1 - s) * target.numpy(), e, atol=1e-5)


@given(level=st.floats(0, 1), shift=st.floats(0.05, 20))
def test_a_shift_multiplies_the_odds_of_noise(level, shift):
    """arXiv 2403.03206, eq. 23, in other words: s'/(1 - s') = k s/(1 - s)."""
    found = flow.shifted(level, shift)
    assert 0 <= found <= 1
    assert found * (1 - level) == pytest.approx(shift * level * (1 - found), abs=1e-9)
    assert flow.unshifted(found, shift) == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize(("pixels", "wanted"), [(1024 * 1024, 1.0), (2048 * 2048, 2.0), (512 * 512, 0.5)])
def test_a_shift_by_resolution_is_the_root_of_the_pixels(pixels, wanted):
    assert flow.shift_of("resolution", pixels) == wanted and flow.shift_of(3.0, pixels) == 3.0
