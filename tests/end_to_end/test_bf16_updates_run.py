"""bf16_updates and the optimizers that crashed for the author, as a user starts them, with both trainers."""

import pytest

from extensions.launch import processor
from tests.helpers.launching import launch

BOTH = pytest.mark.parametrize("trainer", [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"])
LISTED = "--extensions=unet_percent,dual_tag,token_chunks,record_run,bf16_updates" + (
    "" if processor.has_bf16() else ",cpu_bf16"
)


@pytest.mark.parametrize(
    ("trainer", "how"),
    [
        pytest.param("sd-scripts", "stochastic", marks=pytest.mark.upstream),
        pytest.param("sd-scripts", "kahan", marks=[pytest.mark.upstream, pytest.mark.slow]),
        pytest.param("reference", "stochastic", marks=pytest.mark.slow),
        pytest.param("reference", "kahan", marks=pytest.mark.slow),
    ],
)
def test_two_steps(trainer, how, standins, tmp_path):
    words = f"{LISTED} --bf16_updates={how} --gradient_accumulation_steps=1"
    run = launch("25031505", tmp_path, PROFILE="tiny", TINY_STEPS=2, TRAINER=trainer, ARGS=words)
    assert run.code == 0, run.said[-3000:]
    assert f"bf16_updates: {how}, " in run.said
    assert run.manifest["flags"]["bf16_updates"] == how and run.metrics[-1]["optimizer_step"] == 2


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("how", ["nearest", "stochastic", "kahan"])
@pytest.mark.parametrize(
    "name", ["extensions.optimizers.AdamW4bit", "extensions.optimizers.CautiousLion", "pytorch_optimizer.CAME"]
)
def test_the_optimizers_that_crashed_train(name, how, trainer, standins, tmp_path):
    words = f"{LISTED} --optimizer_type={name} --bf16_updates={how} --gradient_accumulation_steps=1"
    run = launch("25031501", tmp_path, PROFILE="tiny", TINY_STEPS=2, TRAINER=trainer, ARGS=words)
    assert run.code == 0, run.said[-3000:]
    assert 0 < run.metrics[-1]["loss"] < 10 and run.metrics[-1]["optimizer_step"] == 2


@pytest.mark.parametrize(
    "trainer", [pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow]), "reference"]
)
def test_what_the_optimizer_does_not_take_is_one_line(trainer, standins, tmp_path):
    words = "--optimizer_args betas=0.9,0.999,0.9999"
    run = launch("25031501", tmp_path, PROFILE="tiny", TRAINER=trainer, ARGS=words)
    assert run.code == 2 and "--optimizer_type=Lion betas=0.9,0.999,0.9999 fails at its first step" in run.said
    assert "Traceback" not in run.said
