"""Weights go back in place; a state of another model is one line."""

import pytest
import torch

from extensions.errors import NotFinite, UserError
from extensions.models import Models
from extensions.optimizer_facts import OPTIMIZERS
from extensions.resume import capture


def test_weights_are_copied_into_the_parameters_that_the_optimizer_holds():
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    weight = model.weight
    capture.restore_weights(model, other.state_dict(), "here")
    assert model.weight is weight and torch.equal(weight, other.weight)


@pytest.mark.parametrize(
    ("saved", "line"),
    [
        (torch.nn.Linear(3, 2, bias=False).state_dict(), "bias is not in both state and model"),
        (
            torch.nn.Linear(4, 2).state_dict(),
            r"weight is torch.float32 \(2, 4\) there and torch.float32 \(2, 3\) here",
        ),
        (torch.nn.Linear(3, 2).bfloat16().state_dict(), "weight is torch.bfloat16"),
    ],
)
def test_another_model(saved, line):
    with pytest.raises(UserError, match=line) as caught:
        capture.restore_weights(torch.nn.Linear(3, 2), saved, "step00000001: U-Net")
    assert str(caught.value).startswith("step00000001: U-Net: ") and "\n" not in str(caught.value)


def test_a_weight_that_is_no_number(monkeypatch):
    model = torch.nn.Linear(3, 2)
    run = type("Run", (), {"optimizer_steps": 7})
    capture.require_finite(run, Models("sdxl", model))
    model.weight.data[1, 1] = float("inf")
    with pytest.raises(NotFinite, match="U-Net: weight is not finite at optimizer step 7"):
        capture.require_finite(run, Models("sdxl", model))


def test_the_room_asked_for_is_the_room_taken():
    model = torch.nn.Linear(64, 64)
    made = torch.optim.AdamW(model.parameters())
    facts = next(facts for facts in OPTIMIZERS if facts.name == "AdamW")
    moments = sum(facts.bytes_of(tuple(p.shape), 4) for p in model.parameters())
    assert capture.expected_bytes(Models("sdxl", model), made) == 4 * 65 * 64 + moments
    model.weight.requires_grad_(False)
    unknown = torch.optim.Adagrad(model.parameters())
    assert capture.expected_bytes(Models("sdxl", model), unknown) == 4 * 65 * 64 + 8 * 64
