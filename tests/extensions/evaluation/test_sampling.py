"""What is drawn is what diffusers' own pipelines draw from the same weights, noise and schedule."""

from functools import cache

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from extensions.evaluation import sampling
from extensions.evaluation.objective import Objective, scheduler_of
from extensions.evaluation.prompts import Prompt
from extensions.model import autoencoder
from extensions.model.models import Calls
from extensions.reference import calls, models
from extensions.reference.text import Text
from extensions.text.encoding import encode_sd2, encode_sdxl

OBJECTIVES = {"epsilon": Objective(), "v": Objective("v"), "v, zero terminal SNR": Objective("v", True)}


@pytest.fixture(scope="module")
def loaded(standins):
    """{family: (models with their calls, tokenize, tokenizers)} of the stand-ins, in float32."""

    def of(family):
        found = models.load(str(standins[family]), family, torch.float32).models
        for model in found.named().values():
            model.eval().requires_grad_(False)
        text = Text(family, str(standins["tokenizers"]), None)
        eos = text.tokenizers[-1].eos_token_id

        def encode(ids):
            if family == "sd2":
                return [encode_sd2(ids[0], found.text_encoders[0], None)]
            return encode_sdxl(ids, found.text_encoders, found.text_encoders[1].text_projection, eos)

        def predict(noisy, timesteps, encoded, sizes):
            return found.unet(noisy, timesteps, **calls.conditions(encoded, sizes, torch.float32)).sample

        found.calls = Calls(encode, predict)
        return found, text.tokenize, text.tokenizers

    return cache(of)


def pipeline(family, found, tokenizers, standins, objective, zeros: bool):
    vae = autoencoder.read(str(standins[family]))
    schedule = scheduler_of(objective.prediction == "v", objective.zero_snr)
    if family == "sd2":
        return StableDiffusionPipeline(
            vae,
            found.text_encoders[0],
            tokenizers[0],
            found.unet,
            schedule,
            None,
            None,
            requires_safety_checker=False,
        )
    return StableDiffusionXLPipeline(
        vae, *found.text_encoders, *tokenizers, found.unet, schedule, force_zeros_for_empty_prompt=zeros
    )


CASES = [
    ("sdxl", "epsilon", "null", 5.0, ""),
    ("sd2", "v, zero terminal SNR", "null", 5.0, "a blur"),
    pytest.param("sdxl", "v, zero terminal SNR", "zero", 5.0, "", marks=pytest.mark.slow),
    pytest.param("sdxl", "v", "null", 3.0, "a blur", marks=pytest.mark.slow),
    pytest.param("sd2", "epsilon", "null", 1.0, "", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("family", "objective", "how", "guidance", "negative"), CASES)
def test_it_draws_what_diffusers_draws(family, objective, how, guidance, negative, loaded, standins):
    found, tokenize, tokenizers = loaded(family)
    prompt = Prompt("a red fox in snow", 64, 96, negative, steps=4, guidance=guidance, seed=11)
    with torch.no_grad():
        ours = sampling.Sampler(found, tokenize, OBJECTIVES[objective]).latents(prompt, how)
        pipe = pipeline(family, found, tokenizers, standins, OBJECTIVES[objective], how == "zero")
        pipe.set_progress_bar_config(disable=True)
        noise = sampling.first_noise(prompt)
        theirs = pipe(
            prompt.text, negative_prompt=negative or None, width=64, height=96, num_inference_steps=4,
            guidance_scale=guidance, latents=noise, output_type="latent",
        ).images  # fmt: skip
    assert ours.shape == (1, 4, 12, 8) and ours.isfinite().all()
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_the_last_timestep_is_asked_where_the_schedule_ends_without_signal():
    """Leading steps would begin at 801 of 5, where a model trained to zero terminal SNR does not start."""
    schedule = scheduler_of(True, True)
    schedule.set_timesteps(5)
    assert schedule.timesteps[0] == 999


def test_null_and_zero_differ_and_a_negative_prompt_is_taken(loaded):
    found, tokenize, _ = loaded("sdxl")
    sampler = sampling.Sampler(found, tokenize, Objective())
    with torch.no_grad():
        null, zero = (sampler.latents(Prompt("a fox", 64, 64, steps=2), how) for how in ("null", "zero"))
        negative = sampler.latents(Prompt("a fox", 64, 64, "a very long dog", steps=2), "zero")
    assert not torch.allclose(null, zero) and not torch.allclose(null, negative)


def test_the_random_streams_of_a_training_do_not_move(loaded):
    found, tokenize, _ = loaded("sd2")
    before = torch.get_rng_state()
    with torch.no_grad():
        sampling.Sampler(found, tokenize, Objective()).latents(Prompt("a fox", 64, 64, steps=2))
    assert torch.equal(torch.get_rng_state(), before)
