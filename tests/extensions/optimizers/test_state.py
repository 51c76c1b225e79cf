"""Each optimizer trains, saves its state, restores it and goes on to the same weights."""

import pytest
import torch

from extensions.optimizers import state as optimizer_state
from extensions.optimizers.updates import Updates
from extensions.resume.parts import Part, read
from tests.helpers.optimizer_cases import OPTIMIZERS, built, model, train, weights

BEFORE, AFTER = 3, 6
PRECISIONS = ["fp32", "mixed bf16", "full bf16", "full bf16, stochastic", "full bf16, kahan"]


class Run:
    """A model, its optimizer and the count of its steps, as a trainer keeps them."""

    def __init__(self, facts, precision: str):
        self.done, self.mixed = 0, precision == "mixed bf16"
        self.net = model(torch.bfloat16 if precision.startswith("full") else torch.float32)
        self.optimizer = built(facts, self.net.parameters(), 1e-3)
        if "," in precision:
            Updates(self.optimizer, precision.endswith("kahan"), 7, lambda: self.done, slice_elements=6000)

    def go(self, until: int) -> "Run":
        while self.done < until:
            train(self.net, self.optimizer, range(self.done, self.done + 1), self.mixed)
            self.done += 1
        return self


def through_a_file(state, folder):
    """As a training state keeps it."""
    Part("part.safetensors", state).write(folder)
    return read(folder / "part.safetensors")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("facts", OPTIMIZERS, ids=lambda facts: facts.name)
def test_restored_it_goes_on_to_the_same_weights(facts, precision, tmp_path):
    whole = Run(facts, precision).go(AFTER)
    first = Run(facts, precision).go(BEFORE)
    assert all(weight.isfinite().all() for weight in weights(whole.net))
    assert any(not torch.equal(a, b) for a, b in zip(weights(first.net), weights(whole.net), strict=True))
    second = Run(facts, precision)
    second.net.load_state_dict(through_a_file(first.net.state_dict(), tmp_path))
    second.optimizer.load_state_dict(through_a_file(first.optimizer.state_dict(), tmp_path))
    second.done = BEFORE
    second.go(AFTER)
    for one, other in zip(weights(whole.net), weights(second.net), strict=True):
        assert torch.equal(one, other)


def test_torch_alone_rounds_what_adafactor_keeps_in_fp32(tmp_path):
    """Why `keep_dtypes` is there; when this fails, torch keeps the dtypes and it can go."""
    parameter = torch.nn.Parameter(torch.randn(64, 64).bfloat16())
    adafactor = next(facts for facts in OPTIMIZERS if facts.name == "AdaFactor, relative step")
    made = built(adafactor, [parameter], 1e-3)
    parameter.grad = torch.randn(64, 64).bfloat16()
    made.step()
    saved = through_a_file(made.state_dict(), tmp_path)
    plain = type(made)([parameter], relative_step=True)
    plain.load_state_dict(saved)
    assert plain.state[parameter]["exp_avg_sq_row"].dtype == torch.bfloat16
    made.load_state_dict(saved)
    assert made.state[parameter]["exp_avg_sq_row"].dtype == torch.float32


def test_size_counts_shared_storage_once_and_quantised_tensors_in_full():
    by_name = {facts.name: facts for facts in OPTIMIZERS}
    parameters = [torch.nn.Parameter(torch.zeros(64, 64)) for _ in range(2)]
    for parameter in parameters:
        parameter.grad = torch.ones(64, 64)
    eight = built(by_name["AdamW8bit"], parameters, 1e-3)
    eight.step()
    assert optimizer_state.size(eight) == 2 * 2 * (4096 + 16 * 4) + 2 * 256 * 4
    four = built(by_name["AdamW4bit"], parameters, 1e-3)
    four.step()
    assert optimizer_state.size(four) == 2 * (2 * (2048 + 32 * 4 + 16 * 4) + 4)
