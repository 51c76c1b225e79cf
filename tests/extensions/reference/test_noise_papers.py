"""Noise, targets and weights against the papers, in float64 from their definitions, for both trainers.

v-prediction: arXiv 2202.00512, appendix D. Zero terminal SNR: arXiv 2305.08891, algorithm 1. Min-SNR: arXiv
2303.09556: the error of the predicted image x0 counts min(SNR, gamma) times, whatever the network predicts;
so the loss is checked against that error, and the weights' closed forms are not repeated here.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.model import diffusion
from extensions.reference import noise

LAST = 999
EVERY = np.arange(1000)


def alpha_and_sigma(zero_terminal_snr: bool) -> tuple[np.ndarray, np.ndarray]:
    """float64 (1000,) each: z = alpha x + sigma noise of Stable Diffusion's "scaled linear" schedule."""
    alpha = np.sqrt(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))
    if zero_terminal_snr:
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    return alpha, np.sqrt(1 - alpha**2)


class Reference:
    """The reference trainer's functions, as its loop calls them."""

    def __init__(self, zero_terminal_snr):
        self.schedule = diffusion.scheduler(zero_terminal_snr)

    def target(self, *batch, v):
        return noise.target_of(self.schedule, *batch, v)

    def loss(self, predicted, target, timesteps, gamma, v):
        weight = noise.snr_weight(self.schedule, timesteps, gamma, v) if gamma else None
        return noise.loss_of(predicted, target, weight, timesteps)


class Upstream:
    """sd-scripts' functions, as its loops call them."""

    def __init__(self, zero_terminal_snr):
        from diffusers import DDPMScheduler
        from library import custom_train_functions, train_util

        self.functions, self.train_util = custom_train_functions, train_util
        betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
        self.schedule = DDPMScheduler(**betas, num_train_timesteps=1000, clip_sample=False)
        custom_train_functions.prepare_scheduler_for_custom_training(self.schedule, "cpu")
        if zero_terminal_snr:
            custom_train_functions.fix_noise_scheduler_betas_for_zero_terminal_snr(self.schedule)

    def target(self, latents, drawn, timesteps, v):
        return self.schedule.get_velocity(latents, drawn, timesteps) if v else drawn

    def loss(self, predicted, target, timesteps, gamma, v):
        loss = self.train_util.conditional_loss(predicted.float(), target.float(), "l2", "none", None)
        loss = loss.mean([1, 2, 3])
        return (self.functions.apply_snr_weight(loss, timesteps, self.schedule, gamma, v) if gamma else loss).mean()


# The ids are the trainers' names, by which `make tricks` knows which of them a test ran.
TRAINERS = [
    pytest.param(Upstream, marks=pytest.mark.upstream, id="sd-scripts"),
    pytest.param(Reference, id="reference"),
]


@pytest.fixture(scope="module", params=TRAINERS)
def trainer(request):
    if request.param is Upstream:
        request.getfixturevalue("patched")
    return {zero: request.param(zero) for zero in (False, True)}


def batch(timesteps, seed=0, dtype=torch.float32):
    """Latents and noise (b, 4, 6, 5), and the timesteps."""
    generator = torch.Generator().manual_seed(seed)
    x, e = (torch.randn(len(timesteps), 4, 6, 5, generator=generator).to(dtype) for _ in range(2))
    return x, e, torch.as_tensor(timesteps)


def of_each(values: np.ndarray, timesteps) -> np.ndarray:
    return values[np.asarray(timesteps)].reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("zero", [False, True])
def test_noisy_latents_and_v_are_the_definitions(trainer, zero):
    x, e, timesteps = batch(EVERY)
    alpha, sigma = (of_each(values, EVERY) for values in alpha_and_sigma(zero))
    noisy = trainer[zero].schedule.add_noise(x, e, timesteps).double().numpy()
    v = trainer[zero].target(x, e, timesteps, v=True).double().numpy()
    x, e = x.double().numpy(), e.double().numpy()
    np.testing.assert_allclose(noisy, alpha * x + sigma * e, atol=2e-5)
    np.testing.assert_allclose(v, alpha * e - sigma * x, atol=2e-5)
    # What makes v a target at every SNR: image and noise come back from it without a division.
    np.testing.assert_allclose(alpha * noisy - sigma * v, x, atol=4e-5)
    np.testing.assert_allclose(sigma * noisy + alpha * v, e, atol=4e-5)


def test_the_terminal_snr_is_zero_and_the_first_stays(trainer):
    bar = trainer[True].schedule.alphas_cumprod
    assert bar[LAST] == 0 and bar[0].item() == pytest.approx(trainer[False].schedule.alphas_cumprod[0].item())
    assert (bar.diff() < 0).all()
    np.testing.assert_allclose(bar.sqrt().numpy(), alpha_and_sigma(True)[0], atol=1e-4)


@settings(max_examples=60)
@given(
    timesteps=st.lists(st.integers(0, LAST), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
    gamma=st.sampled_from([0.5, 1.0, 5.0, 20.0]),
    v=st.booleans(),
)
def test_min_snr_weighs_the_error_of_the_image(trainer, timesteps, seed, gamma, v):
    x, e, steps = batch(timesteps, seed)
    target = trainer[False].target(x, e, steps, v=v)
    predicted = target + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1))
    loss = trainer[False].loss(predicted, target, steps, gamma, v).item()
    alpha, sigma = (of_each(values, timesteps) for values in alpha_and_sigma(False))
    x, e, said = (tensor.double().numpy() for tensor in (x, e, predicted))
    noisy = alpha * x + sigma * e
    image = alpha * noisy - sigma * said if v else (noisy - sigma * said) / alpha
    snr = (alpha / sigma) ** 2
    assert loss == pytest.approx((np.minimum(snr, gamma) * (image - x) ** 2).mean(), rel=2e-3)


@pytest.mark.parametrize("v", [True, False], ids=["v", "eps"])
def test_with_zero_terminal_snr_weights_are_finite_and_those_of_the_schedule_before(trainer, v):
    """An accident of sd-scripts that the reference trainer follows (README, "Two trainers").

    By the paper the terminal timestep would weigh 0 in v-prediction, and nothing could be divided by its SNR in
    noise prediction.
    """
    ones = torch.ones(1, 4, 2, 2)
    weigh = {zero: [trainer[zero].loss(ones, 0 * ones, torch.tensor([t]), 5.0, v) for t in EVERY] for zero in (0, 1)}
    assert weigh[1] == weigh[0] and np.isfinite(weigh[1]).all()
    alpha, _ = alpha_and_sigma(False)
    assert weigh[1][LAST].item() == pytest.approx(alpha[LAST] ** 2 if v else 1.0, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_terminal_timestep_is_pure_noise_and_its_v_the_image(trainer, dtype):
    x, e, timesteps = batch([LAST] * 3, dtype=dtype)
    noisy = trainer[True].schedule.add_noise(x, e, timesteps)
    target = trainer[True].target(x, e, timesteps, v=True)
    assert torch.equal(noisy, e) and torch.equal(target, -x) and noisy.dtype == dtype
    predicted = torch.randn(x.shape, generator=torch.Generator().manual_seed(9)).to(dtype)
    loss = trainer[True].loss(predicted, target, timesteps, 5.0, v=True)
    error = (predicted.double() + x.double()).square().mean().item()
    assert loss.item() == pytest.approx(alpha_and_sigma(False)[0][LAST] ** 2 * error, rel=1e-3)
    assert trainer[True].loss(predicted, target, timesteps, None, v=True).item() == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("zero", [False, True])
def test_in_bf16_everything_is_finite_and_the_first_timesteps_have_no_noise(trainer, zero):
    """diffusers rounds alpha squared to the latents' dtype: another accident that both trainers share."""
    x, e, timesteps = batch(EVERY, dtype=torch.bfloat16)
    noisy = trainer[zero].schedule.add_noise(x, e, timesteps)
    v = trainer[zero].target(x, e, timesteps, v=True)
    assert torch.isfinite(noisy).all() and torch.isfinite(v).all()
    alpha, sigma = alpha_and_sigma(zero)
    kept = np.sqrt(1 - torch.from_numpy(alpha**2).bfloat16().double().numpy())
    clean = [t for t in EVERY if torch.equal(noisy[t], x[t])]
    assert clean == [0, 1] and (sigma[clean] > 0.02).all() and not kept[clean].any()
    assert np.abs(kept / sigma - 1)[20:].max() < 0.08
