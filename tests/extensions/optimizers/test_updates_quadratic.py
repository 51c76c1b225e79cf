"""On a quadratic at the logbook's learning rate bf16 weights move as fp32's do, where nearest does not."""

from types import SimpleNamespace

import pytest
import torch

from extensions.optimizers.updates import Updates
from tests.helpers.optimizer_cases import OPTIMIZERS, built

BY_NAME = {facts.name: facts for facts in OPTIMIZERS}


def cosine_and_length(moved: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    moved, expected = moved.double().flatten(), expected.double().flatten()
    cosine = torch.nn.functional.cosine_similarity(moved, expected, dim=0).item() if moved.any() else 0.0
    return cosine, (moved.norm() / expected.norm()).item()


# At the learning rate of the logbook; CAME at a tenth, AdaFactor's relative step as 25031502 has it.
QUADRATIC = {
    "AdamW": (1.5e-6, {}),
    "AdamW8bit": (1.5e-6, {}),
    "AdamW4bit": (1.5e-6, {}),
    "Lion": (1.5e-6, {}),
    "Lion8bit": (1.5e-6, {}),
    "C-Lion": (1.5e-6, {}),
    "AdaFactor, relative step": (None, {"warmup_init": True}),
    "AdaFactor, own schedule": (1.5e-6, {}),
    "CAME": (1.5e-7, {}),
}


def descend(how: str, name: str, steps=1000) -> torch.Tensor:
    """The total update on a quadratic: weights of SDXL's size, pulled to a target some 0.1 away."""
    rate, more = QUADRATIC[name]
    source = torch.Generator().manual_seed(0)
    start = (torch.randn(64, 64, generator=source) * 0.02).bfloat16().float()
    target = start + 0.1 * torch.randn(64, 64, generator=source).abs()
    dtype = torch.float32 if how == "fp32" else torch.bfloat16
    parameter = torch.nn.Parameter(start.to(dtype, copy=True))
    optimizer = built(BY_NAME[name], [parameter], rate, **more)
    counter = SimpleNamespace(done=0)
    if how in ("stochastic", "kahan"):
        Updates(optimizer, how == "kahan", 0, lambda: counter.done)
    for counter.done in range(steps):
        parameter.grad = (parameter.detach().float() - target).to(dtype)
        optimizer.step()
    return parameter.detach().float() - start


EVERY_DAY = ("AdamW8bit", "AdaFactor, own schedule")  # the others take half a minute


@pytest.mark.parametrize("facts", [facts for facts in OPTIMIZERS if facts.name in EVERY_DAY], ids=lambda f: f.name)
def test_on_a_quadratic_the_weights_move_as_in_fp32(facts):
    moves_as_in_fp32(facts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "facts", [facts for facts in OPTIMIZERS if facts.name not in EVERY_DAY], ids=lambda f: f.name
)
def test_on_a_quadratic_every_optimizer_moves_as_in_fp32(facts):
    moves_as_in_fp32(facts)


def moves_as_in_fp32(facts) -> None:
    """Cosine and length of the total update; nearest loses nine tenths of it, or (AdaFactor) three quarters."""
    expected = descend("fp32", facts.name)
    cosine, length = cosine_and_length(descend("nearest", facts.name), expected)
    assert cosine < 0.6 and cosine * length < (0.25 if facts.rate is None else 0.1)
    cosine, length = cosine_and_length(descend("stochastic", facts.name), expected)
    assert cosine > 0.93 and abs(cosine * length - 1) < 0.01, "right in the mean; the rest is rounding noise"
    cosine, length = cosine_and_length(descend("kahan", facts.name), expected)
    assert cosine > 0.998 and abs(length - 1) < 0.015
