"""An asker against oracles: models whose error is known, and the same numbers on any number of processes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from extensions.data.latents import Latents
from extensions.data.metadata import Sample
from extensions.evaluation import asking, strata
from extensions.evaluation.asking import Asker, Image
from extensions.evaluation.objective import Objective
from extensions.model.diffusion import LATENT_SCALE, scheduler
from extensions.model.models import Calls, Models

SHAPE = (4, 8, 6)


def image(key: str) -> Image:
    values = np.random.default_rng(len(key)).standard_normal(SHAPE).astype(np.float32)
    return Image(Sample(key, "tags", "caption", 48, 64), Latents(values, (480, 640), (3, 5)), {"text": f"{key} text"})


def asker(predict, v=False, zero=False, count=4) -> Asker:
    """An asker whose U-Net is a function of (noisy, timesteps, encoded, sizes)."""
    models = Models("sdxl", None, calls=Calls(lambda ids: [ids[0].float()], predict))
    objective = Objective("v" if v else "epsilon", zero)
    return Asker(models, lambda texts: [torch.tensor([[len(texts[0])]])], objective, 7, count)


@pytest.mark.parametrize("zero", [False, True], ids=["plain", "zero terminal SNR"])
def test_epsilon_and_v_of_the_same_guess_have_one_error_of_x0(zero):
    """A model that takes every image for zero: its error is the image's mean square, in every stratum."""
    alphas = scheduler(zero).alphas_cumprod

    def epsilon(noisy, timesteps, *_):
        return noisy / (1 - alphas[timesteps]).sqrt()

    def v(noisy, timesteps, *_):  # a noisy - b v = 0
        return alphas[timesteps].sqrt() * noisy / (1 - alphas[timesteps]).sqrt()

    one = image("one")
    wanted = float(np.square(one.latents.latents * LATENT_SCALE["sdxl"]).mean())
    for predict, is_v in ((epsilon, False), (v, True)):
        _, errors = asker(predict, is_v, zero).ask(one, "x")
        assert errors == pytest.approx([wanted] * 4, rel=2e-3)


def test_the_models_are_asked_as_in_training():
    seen = []

    def predict(noisy, timesteps, encoded, sizes):
        seen.append((noisy.shape, timesteps.tolist(), encoded[0].tolist(), sizes.tolist()))
        return torch.zeros(noisy.shape)

    losses, _ = asker(predict).ask(image("one"), "four")
    assert [shape for shape, *_ in seen] == [(1, *SHAPE)] * 4
    assert seen[0][2:] == ([[4.0]], [[640, 480, 5, 3, 64, 48]])
    assert [times for _, times, *_ in seen] == sorted(times for _, times, *_ in seen)
    noise = [strata.noise(7, "one", number, (1, *SHAPE)).square().mean().item() for number in range(4)]
    assert losses == pytest.approx(noise, rel=1e-6)


def test_a_text_is_tokenized_once():
    one, counted = asker(lambda noisy, *_: noisy), []
    tokenize = one.tokenize
    one.tokenize = lambda texts: counted.append(texts) or tokenize(texts)
    for _ in range(3):
        one.ask(image("one"), "x")
    assert counted == [["x"]]


@pytest.mark.parametrize("processes", [2, 3, 4, 7])
def test_processes_share_the_work_and_agree_to_the_last_bit(processes):
    units = [(image("i" * number), f"text {number}") for number in range(1, 6)]
    predict = lambda noisy, timesteps, *_: noisy * 0.3 + timesteps.float()[:, None, None, None]  # noqa: E731
    alone = asking.shared(units, asker(predict), SimpleNamespace(
        process_index=0, num_processes=1, device="cpu", reduce=lambda tensor, _: tensor))  # fmt: skip
    parts: list[torch.Tensor] = []

    def keep(tensor, _how):
        parts.append(tensor.clone())
        return tensor

    for process in range(processes):
        asking.shared(units, asker(predict), SimpleNamespace(
            process_index=process, num_processes=processes, device="cpu", reduce=keep))  # fmt: skip
    assert np.array_equal(sum(parts).numpy(), alone) and (alone > 0).all()
    assert sum(bool(part.any()) for part in parts) == min(processes, 5)


def test_other_images_texts_seeds_and_strata_are_other_questions():
    one, two = image("one"), image("two")
    names = {asking.name_of(*words) for words in (([one], 0, 8), ([two], 0, 8), ([one, two], 0, 8), ([one], 1, 8),
             ([one], 0, 4), ([Image(one.sample, one.latents, {"text": "other"})], 0, 8))}  # fmt: skip
    assert len(names) == 6 and asking.name_of([image("one")], 0, 8) in names


def test_noise_that_is_the_same_each_time_shows_smaller_differences():
    """Two models a hair apart, asked about 64 images: with noise drawn anew the error is three times as large."""
    images = [image("i" * (number + 1)) for number in range(64)]

    def errors(scale: float, seed: int) -> np.ndarray:
        one = asker(lambda noisy, *_: noisy * scale)
        one.seed = seed
        return np.array([one.ask(each, "x")[1].mean() for each in images])

    paired = errors(0.9, 0) - errors(0.91, 0)
    anew = errors(0.9, 1) - errors(0.91, 2)
    assert paired.std() <= anew.std() / 3
