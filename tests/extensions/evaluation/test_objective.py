"""Every objective seen through one model of the clean latents: one error of x0, and a sampler that finds it."""

import argparse

import pytest
import torch

from extensions.evaluation import objective, strata
from extensions.evaluation.objective import Objective

OBJECTIVES = [Objective(), Objective("v"), Objective("v", True), Objective("flow"), Objective("flow", flow_shift=3.0)]
POINTS = [6.5, 3.0, 0.2, -2.0, -4.9]
IMAGE, GUESS = torch.randn(2, 1, 4, 8, 6, generator=torch.Generator().manual_seed(1)).double()


def said(made: Objective, noisy, a, b, image):
    """What a U-Net says that takes `image` for the clean latents: by each objective's definition."""
    noise = (noisy - a * image) / b
    return {"epsilon": noise, "v": a * noise - b * image, "flow": noise - image}[made.prediction]


@pytest.mark.parametrize("made", OBJECTIVES, ids=str)
def test_all_objectives_have_one_error_of_x0(made):
    timesteps = made.timesteps_at(POINTS)
    assert timesteps.is_floating_point() == (made.prediction == "flow")
    losses = []
    for number, timestep in enumerate(timesteps):
        a, b = (each.double() for each in made.scales(timestep))
        assert (a**2 / b**2).log().item() == pytest.approx(
            POINTS[number], abs=1e-4 if made.prediction == "flow" else 0.4
        )
        noise = strata.noise(3, "key", number, tuple(IMAGE.shape)).double()
        target = made.target(IMAGE, noise, timestep).double()
        predicted = said(made, a * IMAGE + b * noise, a, b, GUESS)
        losses.append((predicted - target).square().mean().item())
    wanted = (GUESS - IMAGE).square().mean().item()
    assert made.x0_errors(losses, timesteps) == pytest.approx([wanted] * len(POINTS), rel=1e-4)


@pytest.mark.parametrize("made", OBJECTIVES, ids=str)
def test_a_sampler_ends_at_what_the_model_takes_for_clean(made):
    """A U-Net that always sees the same image: from any noise, in any number of steps, that is drawn."""
    schedule = made.sampler(5, 1024 * 1024)
    flow = made.prediction == "flow"
    latents = torch.randn(IMAGE.shape, generator=torch.Generator().manual_seed(2))
    latents = latents if flow else latents * schedule.init_noise_sigma
    for timestep in schedule.timesteps:
        shown = latents if flow else schedule.scale_model_input(latents, timestep)
        a, b = made.scales(timestep if flow else timestep.long())
        predicted = said(made, shown, a, b, IMAGE.float())
        latents = schedule.step(predicted, timestep, latents).prev_sample
    torch.testing.assert_close(latents, IMAGE.float(), atol=2e-2 if made.zero_snr else 2e-3, rtol=0)


def test_flows_sampler_begins_at_noise_and_shifts():
    plain, shifted = (Objective("flow", flow_shift=shift).sampler(4, 1) for shift in (1.0, 3.0))
    assert plain.timesteps.tolist() == [1000, 750, 500, 250] and plain.sigmas[-1] == 0
    wanted = [1000 * 3 * s / (1 + 2 * s) for s in (1, 0.75, 0.5, 0.25)]
    assert shifted.timesteps.tolist() == pytest.approx(wanted)
    by_size = Objective("flow", flow_shift="resolution").sampler(2, 4 * 1024 * 1024)
    assert by_size.timesteps.tolist() == pytest.approx([1000, 1000 * 2 * 0.5 / 1.5])


def test_an_objective_is_read_off_the_flags():
    plain = argparse.Namespace(v_parameterization=True, zero_terminal_snr=True)
    assert objective.of_args(plain) == Objective("v", True)
    flow = argparse.Namespace(extensions="objective", objective="flow", flow_shift=2.5, v_parameterization=False)
    assert objective.of_args(flow) == Objective("flow", False, 2.5)
