"""The SD2 runs of the logbook in full bf16, with each trainer: v-prediction, zero terminal SNR, min-SNR 5."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.helpers.launching import launch

# The reference trainer's functions have the same checks in tests/extensions/reference/test_noise_papers.py.
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), pytest.param("reference", marks=pytest.mark.slow)]
OUT = "model.diffusion_model.out.2."
SCALE = 0.18215
# alpha squared of the last timestep before the rescaling, which is SNR / (SNR + 1): the min-SNR weight of v there.
LAST_WEIGHT = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[-1]


@pytest.fixture(scope="module")
def silent(standins, tmp_path_factory):
    """The stand-in with a last convolution of zeros: whatever it sees, it predicts 0."""
    tensors = load_file(standins["sd2"])
    for name in ("weight", "bias"):
        tensors[OUT + name] = torch.zeros_like(tensors[OUT + name])
    path = tmp_path_factory.mktemp("silent") / "sd2.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def few(standins, tmp_path_factory):
    """(metadata of two images of the stand-in set, the mean square of their scaled latents)."""
    entries = json.loads(Path(standins["meta_sd2"]).read_text(encoding="utf-8"))
    entries = dict(list(entries.items())[:2])
    path = tmp_path_factory.mktemp("few") / "meta_lat.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    latents = [np.load(standins["data_sd2"] / f"{name}.npz")["latents"].astype(np.float64) for name in entries]
    return path, [np.square(SCALE * each).mean() for each in latents]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_loss_at_the_terminal_timestep_is_the_formula(trainer, silent, few, tmp_path):
    """There is no image left in the input, v is the image with its sign changed, and 0 is predicted."""
    metadata, squares = few
    flags = "--min_timestep=999 --max_timestep=999 --learning_rate=0 --learning_rate_te=0"
    flags += f" --pretrained_model_name_or_path='{silent}' --in_json='{metadata}'"
    run = launch("24122001", tmp_path, PROFILE="tiny", TINY_STEPS=2, TRAINER=trainer, ARGS=flags)
    assert run.code == 0, run.said[-3000:]
    losses = sorted(line["loss"] for line in run.metrics)
    assert losses == pytest.approx(sorted(LAST_WEIGHT * square for square in squares), rel=5e-3)
    assert_all_in_bf16(run)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"])
def test_training_at_the_terminal_timestep_stays_finite(trainer, standins, tmp_path):
    """The model as it is, at the run's own learning rate: gradients reach every weight, and none becomes NaN."""
    flags = "--min_timestep=999 --max_timestep=999"
    run = launch("24122001", tmp_path, PROFILE="tiny", TINY_STEPS=3, TRAINER=trainer, ARGS=flags)
    assert run.code == 0, run.said[-3000:]
    assert np.isfinite([line["loss"] for line in run.metrics]).all()
    after, before = (load_file(path) for path in (run.output / "last.safetensors", standins["sd2"]))
    unet = [name for name in after if name.startswith("model.diffusion_model.")]
    assert all(torch.isfinite(after[name]).all() for name in after)
    # fp16 of bf16 weights: what has moved by a step of bf16 shows.
    assert any(not torch.equal(after[name], before[name].bfloat16().to(after[name].dtype)) for name in unet)


@pytest.mark.slow
@pytest.mark.upstream
def test_both_trainers_train_the_same_in_full_bf16(standins, tmp_path):
    """Sums in another order, rounded to eight bits: losses agree to some thousandths, not to the bit."""

    def train(trainer):
        return launch("24122101", tmp_path / trainer, PROFILE="tiny", TINY_STEPS=2, TRAINER=trainer)

    with ThreadPoolExecutor(2) as pool:
        theirs, ours = pool.map(train, ("sd-scripts", "reference"))
    assert (theirs.code, ours.code) == (0, 0), theirs.said[-2000:] + ours.said[-2000:]
    losses = [[line["loss"] for line in run.metrics] for run in (theirs, ours)]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2) and np.isfinite(losses).all() and len(losses[0]) == 2
    for run in (theirs, ours):
        assert_all_in_bf16(run)
        assert finite(run.output / "last.safetensors")


def assert_all_in_bf16(run) -> None:
    """What `record_run` finds before the first step: no weight of a model is wider."""
    kept = re.findall(r"trainable: (.+?): .* parameters, in (.*)", (run.folder / "train.log").read_text())
    assert kept == [("U-Net", "bfloat16"), ("text encoder 1", "bfloat16")]


def finite(path) -> bool:
    with safe_open(path, framework="pt") as file:
        return all(torch.isfinite(file.get_tensor(name)).all() for name in file.keys())
