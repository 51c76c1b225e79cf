"""Weights go back in place; a state of another model is one line."""

import pytest
import torch

from extensions.base.errors import NotFinite, UserError
from extensions.model.models import Models
from extensions.resume import capture, parts
from tests.helpers.optimizer_cases import OPTIMIZERS, built, model, train


def test_weights_are_copied_into_the_parameters_that_the_optimizer_holds():
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    weight = model.weight
    capture.restore_weights(model, other.state_dict().items(), "here")
    assert model.weight is weight and torch.equal(weight, other.weight)


@pytest.mark.parametrize(
    ("saved", "line"),
    [
        (torch.nn.Linear(3, 2, bias=False).state_dict(), "the state has no bias; it is of another base model"),
        (
            torch.nn.Linear(3, 2).state_dict() | {"more": torch.ones(1)},
            "the model has no more; the state is of another",
        ),
        (
            torch.nn.Linear(4, 2).state_dict(),
            r"weight is torch.float32 \(2, 4\) there and torch.float32 \(2, 3\) here",
        ),
        (torch.nn.Linear(3, 2).bfloat16().state_dict(), "weight is torch.bfloat16"),
    ],
)
def test_another_model(saved, line):
    with pytest.raises(UserError, match=line) as caught:
        capture.restore_weights(torch.nn.Linear(3, 2), saved.items(), "step00000001: U-Net")
    assert str(caught.value).startswith("step00000001: U-Net: ") and "\n" not in str(caught.value)


def test_a_weight_that_is_no_number(monkeypatch):
    model = torch.nn.Linear(3, 2)
    run = type("Run", (), {"optimizer_steps": 7})
    capture.require_finite(run, Models("sdxl", model))
    model.weight.data[1, 1] = float("inf")
    with pytest.raises(NotFinite, match="U-Net: weight is not finite at optimizer step 7"):
        capture.require_finite(run, Models("sdxl", model))


@pytest.mark.parametrize("facts", OPTIMIZERS, ids=lambda facts: facts.name)
def test_the_room_asked_for_is_the_room_taken(facts):
    net = model()
    made = built(facts, net.parameters(), 1e-3)
    asked = capture.expected_bytes(Models("sdxl", net), made)
    train(net, made, range(2))
    taken = parts.size_of(net.state_dict()) + parts.size_of(made.state_dict())
    # bitsandbytes keeps one map of 256 values for all; a file has it once for each quantised tensor.
    assert asked <= taken <= 1.02 * asked + 2 * 1024 * len(list(net.parameters()))


def test_an_optimizer_that_is_not_in_the_table_counts_as_two_moments():
    net = torch.nn.Linear(64, 64)
    net.weight.requires_grad_(False)
    other = torch.optim.Adagrad(net.parameters())
    assert capture.expected_bytes(Models("sdxl", net), other) == 4 * 65 * 64 + 8 * 64
    zero = type("Zero", (), {"optimizer": other, "single_partition_of_fp32_groups": []})
    assert capture.expected_bytes(Models("sdxl", net), zero) == 4 * 65 * 64 + 12 * 64


@pytest.mark.parametrize("facts", [each for each in OPTIMIZERS if each.name in ("AdamW", "AdamW8bit", "Lion")])
def test_the_room_for_zero_counts_the_fp32_weights_of_all_processes(facts):
    """Two shares of ZeRO's, as DeepSpeed keeps them: the base optimizer steps one flat fp32 piece."""
    net, taken = model().bfloat16(), 0
    elements = sum(parameter.numel() for parameter in net.parameters())
    for size in (elements // 2, elements - elements // 2):
        piece = torch.nn.Parameter(torch.zeros(size))
        base = built(facts, [piece], 1e-3)
        piece.grad = torch.ones(size)
        base.step()
        taken += parts.size_of(base.state_dict()) + parts.size_of(piece)
    zero = type("Zero", (), {"optimizer": base, "single_partition_of_fp32_groups": [piece]})
    asked = capture.expected_bytes(Models("sdxl", net), zero)
    assert asked <= taken + parts.size_of(net.state_dict()) <= 1.02 * asked + 2 * 2 * 1024
