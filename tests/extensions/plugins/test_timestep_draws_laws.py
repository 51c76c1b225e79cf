"""Each objective with each law, 16 kinds, by formulas of their own, in both trainers."""

import argparse
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit

from extensions import loop, manager
from extensions.model import diffusion
from extensions.objectives import draws
from tests.helpers.plugin_flags import parsed

TRAINERS = {
    "v_parameterization": False, "zero_terminal_snr": False, "min_timestep": None, "max_timestep": None,
    "min_snr_gamma": None, "debiased_estimation_loss": False, "seed": 7, "train_batch_size": 1,
    "gradient_accumulation_steps": 4,
}  # fmt: skip
OFF = (
    "noise_offset", "noise_offset_random_strength", "adaptive_noise_scale", "multires_noise_iterations",
    "ip_noise_gamma", "ip_noise_gamma_random_strength",
)  # fmt: skip
SHAPE = (1, 4, 16, 12)
OBJECTIVES = {"epsilon": (), "v": (), "v, zero terminal SNR": ("--zero_terminal_snr",), "flow": ()}
LAWS = {  # flags: s of a uniform number, by scipy; the number's own draw
    "uniform": ((), lambda u: u, draws.STRATIFIED),
    "logit-normal": (
        ("--timestep_law=logit_normal", "--timestep_mean=-0.2", "--timestep_deviation=1.3"),
        lambda u: expit(stats.norm.ppf(u, -0.2, 1.3)), draws.STRATIFIED,
    ),
    "shifted": (
        ("--timestep_law=logit_normal", "--timestep_shift=3"),
        lambda u: 3 * expit(stats.norm.ppf(u)) / (1 + 2 * expit(stats.norm.ppf(u))), draws.INDEPENDENT,
    ),
    "beta by resolution": (
        ("--timestep_law=beta", "--timestep_alpha=2", "--timestep_beta=5", "--timestep_shift=resolution"),
        lambda u: by_resolution(stats.beta.ppf(u, 2, 5)), draws.STRATIFIED,
    ),
}  # fmt: skip


def by_resolution(s):
    """sqrt(m / n) of arXiv 2403.03206, eq. 23: latents of 16 x 12 are images of 128 x 96."""
    k = np.sqrt(128 * 96 / 1024**2)
    return k * s / (1 + (k - 1) * s)


def alpha_and_sigma(zero: bool):
    alpha = np.sqrt(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))
    if zero:
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    return alpha, np.sqrt(1 - alpha**2)


def of_scripts(args, latents):
    """sd-scripts' lines, as sdxl_train.py has them: (target, noisy latents, timesteps)."""
    from diffusers import DDPMScheduler
    from library import custom_train_functions, train_util

    from extensions.upstream import seams

    seams.install()
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    if args.zero_terminal_snr:
        custom_train_functions.fix_noise_scheduler_betas_for_zero_terminal_snr(schedule)
    flags = argparse.Namespace(**vars(args), **dict.fromkeys(OFF))
    noise, noisy, timesteps = train_util.get_noise_noisy_latents_and_timesteps(flags, schedule, latents)
    target = schedule.get_velocity(latents, noise, timesteps) if args.v_parameterization else noise
    return target, noisy, timesteps


def of_reference(args, latents):
    from extensions.flags import settings
    from extensions.reference import noise

    accelerator = SimpleNamespace(num_processes=1, process_index=0)
    drawn, timesteps = noise.draw(latents, accelerator, *settings.timestep_range(args))
    schedule = diffusion.scheduler(args.zero_terminal_snr)
    noisy = noise.add(schedule, latents, drawn, timesteps)
    return noise.target_of(schedule, latents, drawn, timesteps, args.v_parameterization), noisy, timesteps


BOTH = [
    pytest.param(of_scripts, marks=pytest.mark.upstream, id="sd-scripts"), pytest.param(of_reference, id="reference"),
]  # fmt: skip


@pytest.mark.parametrize("lines", BOTH)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objective_and_law_are_their_formulas_in_both_trainers(objective, law, lines, monkeypatch, request):
    """In float64, from the definitions; the noise is what the seed gives first."""
    if lines is of_scripts:
        request.getfixturevalue("patched")
    words, level, how = LAWS[law]
    name, zero = objective.partition(",")[0], bool(OBJECTIVES[objective])
    listed = "objective,timestep_draws"
    args = parsed(
        listed, f"--objective={name}", f"--timestep_draws={how}", *words, **TRAINERS | {"zero_terminal_snr": zero}
    )
    run = SimpleNamespace(args=args, accelerator=SimpleNamespace(num_processes=1, process_index=0), position=None)
    made = manager.Manager(listed.split(","))
    made.hook.check_arguments(args=args)
    monkeypatch.setattr(manager, "_current", made)
    latents = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    for step in (0, 41):
        run.optimizer_steps = step
        monkeypatch.setattr(loop, "_run", run)
        torch.manual_seed(step)
        e = torch.randn(SHAPE).double().numpy()
        torch.manual_seed(step)
        target, noisy, timesteps = lines(args, latents)
        u = draws.independent(7, step, 0) if how == draws.INDEPENDENT else draws.stratified(7, step, 0, 4)
        s, x = level(u), latents.double().numpy()
        if name == "flow":
            assert timesteps.item() == pytest.approx(1000 * s, rel=1e-6)
            a, b, wanted = 1 - s, s, e - x
        else:
            assert timesteps.dtype == torch.int64 and timesteps.item() == int(np.floor(1000 * s))
            a, b = (each[timesteps.item()] for each in alpha_and_sigma(zero))
            wanted = a * e - b * x if name == "v" else e
        np.testing.assert_allclose(noisy.numpy(), a * x + b * e, atol=3e-5)
        np.testing.assert_allclose(target.numpy(), wanted, atol=3e-5)
