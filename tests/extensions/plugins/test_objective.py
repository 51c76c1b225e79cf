"""The objective is what was asked for, with both trainers' lines; what would do nothing beside it is refused."""

import argparse

import numpy as np
import pytest
import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import contradictions, settings
from extensions.flags.words import Flags
from extensions.model import diffusion, prediction, untrained
from extensions.plugins.objective import Plugin
from tests.helpers.plugin_flags import parsed

TRAINERS = {
    "v_parameterization": False, "zero_terminal_snr": False, "min_timestep": None, "max_timestep": None,
    "min_snr_gamma": None, "debiased_estimation_loss": False,
}  # fmt: skip
OFF = (
    "noise_offset", "noise_offset_random_strength", "adaptive_noise_scale", "multires_noise_iterations",
    "ip_noise_gamma", "ip_noise_gamma_random_strength",
)  # fmt: skip
LATENTS = torch.randn(3, 4, 8, 6, generator=torch.Generator().manual_seed(1))


def asked(*words: str, **more) -> argparse.Namespace:
    return parsed("objective", *words, **TRAINERS | more)


def listed(monkeypatch, args) -> manager.Manager:
    """The plugin as a run has it, its flags checked."""
    made = manager.Manager(["objective"])
    made.hook.check_arguments(args=args)
    monkeypatch.setattr(manager, "_current", made)
    return made


@pytest.mark.parametrize(
    ("words", "more", "says"),
    [
        ((), {}, "objective is listed without --objective"),
        (("--objective=v",), {"v_parameterization": True}, "say the same thing twice"),
        (("--objective=epsilon", "--flow_shift=3"), {}, "--flow_shift does nothing with --objective=epsilon"),
        (("--objective=flow",), {"zero_terminal_snr": True}, "--zero_terminal_snr does nothing"),
        (("--objective=flow",), {"min_snr_gamma": 5.0}, "--min_snr_gamma weighs by a schedule's SNR"),
        (("--objective=flow",), {"debiased_estimation_loss": True}, "--debiased_estimation_loss weighs"),
        (("--objective=flow",), {"loss_type": "huber", "huber_schedule": "snr"}, "--huber_schedule=snr"),
    ],
)
def test_what_would_do_nothing_is_refused(words, more, says):
    with pytest.raises(UserError, match=says) as error:
        Plugin().check_arguments(asked(*words, **more))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("flag", ["scale_v_pred_loss_like_noise_pred", "v_pred_like_loss=1"])
def test_a_loss_that_is_made_like_anothers_is_refused_by_the_launcher(flag):
    words = ["--extensions=objective", "--objective=v", f"--{flag}", "--v_parameterization"][: 3 + ("=" not in flag)]
    with pytest.raises(UserError, match="the plugin objective exclude each other"):
        contradictions.check(Flags(words), 1)


@pytest.mark.parametrize(("objective", "v"), [("epsilon", False), ("v", True), ("flow", False)])
def test_the_trainer_is_switched_and_the_settings_say_so(objective, v):
    args = asked(f"--objective={objective}")
    before = settings.of_args(args).prediction
    Plugin().check_arguments(args)
    assert args.v_parameterization is v and before == settings.of_args(args).prediction == objective
    words = Flags(["--extensions=objective", f"--objective={objective}"])
    assert settings.of_words(words).prediction == objective


@pytest.mark.parametrize("objective", ["epsilon", "v"])
def test_epsilon_and_v_are_left_to_the_trainer(monkeypatch, objective):
    hook = listed(monkeypatch, asked(f"--objective={objective}")).hook
    assert hook.draw_timesteps(run=None, shape=LATENTS.shape, process=0) is None
    assert hook.noise_latents(latents=LATENTS, noise=LATENTS, timesteps=torch.zeros(3)) is None
    assert hook.target(latents=LATENTS, noise=LATENTS, timesteps=torch.zeros(3)) is None
    assert hook.checkpoint_metadata(models=None, optimizer_steps=1) == [{}]


def of_upstream(args):
    """sd-scripts' lines: (noise that becomes the target, noisy latents, timesteps)."""
    from library import train_util

    from extensions.upstream import seams

    seams.install()
    target, noisy, timesteps = train_util.get_noise_noisy_latents_and_timesteps(
        argparse.Namespace(**vars(args), **dict.fromkeys(OFF)), diffusion.scheduler(False), LATENTS
    )
    return target, noisy, timesteps


def of_reference(args):
    from types import SimpleNamespace

    from extensions.reference import noise

    accelerator = SimpleNamespace(num_processes=1, process_index=0)
    drawn, timesteps = noise.draw(LATENTS, accelerator, *settings.timestep_range(args))
    schedule = diffusion.scheduler(False)
    noisy = noise.add(schedule, LATENTS, drawn, timesteps)
    return noise.target_of(schedule, LATENTS, drawn, timesteps, args.v_parameterization), noisy, timesteps


TRAINER = [
    pytest.param(of_upstream, marks=pytest.mark.upstream, id="sd-scripts"),
    pytest.param(of_reference, id="reference"),
]


@pytest.mark.parametrize("lines", TRAINER)
@pytest.mark.parametrize("limits", [(None, None), (200, 300)])
def test_flow_is_its_formula_in_both_trainers(lines, limits, monkeypatch, request):
    """In float64 by the definition: the noise is what both draw first from the seed."""
    if lines is of_upstream:
        request.getfixturevalue("patched")
    args = asked("--objective=flow", min_timestep=limits[0], max_timestep=limits[1])
    listed(monkeypatch, args)
    torch.manual_seed(11)
    e = torch.randn(LATENTS.shape).double().numpy()
    drawn = torch.rand(3)
    torch.manual_seed(11)
    target, noisy, timesteps = lines(args)
    low, high = limits[0] or 0, limits[1] or 1000
    assert timesteps.dtype == torch.float32
    np.testing.assert_allclose(timesteps.numpy(), low + (high - low) * drawn.numpy(), rtol=1e-6)
    assert (timesteps != timesteps.round()).any(), "nothing is quantised"
    s, x = (timesteps.double().numpy() / 1000).reshape(-1, 1, 1, 1), LATENTS.double().numpy()
    np.testing.assert_allclose(noisy.numpy(), (1 - s) * x + s * e, atol=1e-6)
    np.testing.assert_allclose(target.numpy(), e - x, atol=1e-6)


def test_both_u_nets_are_told_timesteps_between_the_whole_ones(patched):
    """Sinusoids of 1,000 s itself: sd-scripts' and diffusers' functions against their formula in float64."""
    from diffusers.models.embeddings import get_timestep_embedding
    from library.sdxl_original_unet import get_timestep_embedding as of_scripts

    told = torch.tensor([0.25, 437.123, 999.5])
    rates = np.exp(-np.log(10000) * np.arange(160) / 160)
    angles = told.double().numpy()[:, None] * rates
    wanted = np.concatenate([np.cos(angles), np.sin(angles)], 1)
    for found in (get_timestep_embedding(told, 320, True, 0), of_scripts(told, 320, downscale_freq_shift=0)):
        np.testing.assert_allclose(found.double().numpy(), wanted, atol=2e-4)


@pytest.mark.parametrize(("words", "shift"), [((), "1.0"), (("--flow_shift=3",), "3.0")])
def test_a_flow_checkpoint_says_what_it_is(monkeypatch, words, shift):
    (said,) = listed(monkeypatch, asked("--objective=flow", *words)).hook.checkpoint_metadata(
        models=None, optimizer_steps=1
    )
    assert said == {"modelspec.prediction_type": "flow", "sdxl_trainer.flow_shift": shift}
    args = asked("--objective=flow")
    Plugin().check_arguments(args)
    assert prediction.marks_of(args, "sdxl", {"v_pred": 0}) == ()


def interface_takes_it_for(keys) -> tuple[str, bool]:
    """What ComfyUI and A1111 take an SDXL file for, by its tensors' names alone, in this order."""
    if {"edm_mean", "edm_std"} <= set(keys) or "edm_vpred.sigma_max" in keys:
        return "edm", False
    return ("v", "ztsnr" in keys) if "v_pred" in keys else ("epsilon", False)


@pytest.mark.parametrize(
    ("objective", "zero", "taken"),
    [
        ("epsilon", False, ("epsilon", False)), ("v", False, ("v", False)), ("v", True, ("v", True)),
        ("flow", False, ("epsilon", False)),  # there is no mark for it: docs/objectives.md says what to put between
    ],
)  # fmt: skip
def test_interfaces_take_a_checkpoint_for_what_it_is(objective, zero, taken):
    args = asked(f"--objective={objective}", zero_terminal_snr=zero)
    Plugin().check_arguments(args)
    base = {"model.diffusion_model.out.2.weight": torch.ones(1), "v_pred": torch.empty(0), "ztsnr": torch.empty(0)}
    written = untrained.marked(base, prediction.marks_of(args, "sdxl", base))
    assert interface_takes_it_for(written) == taken
