"""The mode is on while the run trains, and off before and after."""

import pytest
import torch
from torch.nn import functional

from extensions import manager
from extensions.model import cpu_products


@pytest.fixture
def widened(monkeypatch) -> list:
    """What is made wide for a product."""
    seen, plain = [], cpu_products.widened
    monkeypatch.setattr(cpu_products, "widened", lambda value: seen.append(value) or plain(value))
    return seen


def product() -> torch.Tensor:
    return functional.linear(torch.ones(1, 4, dtype=torch.bfloat16), torch.ones(2, 4, dtype=torch.bfloat16))


def test_products_are_made_in_fp32_while_the_run_trains(widened):
    made = manager.Manager(["cpu_bf16"])
    product()
    assert widened == []
    made.hook.training_begins(run=None)
    assert product().dtype == torch.bfloat16 and len(widened) == 2
    made.hook.run_ended(error=None)
    product()
    assert len(widened) == 2


def test_a_run_that_ends_before_it_trains(widened):
    manager.Manager(["cpu_bf16"]).hook.run_ended(error=ValueError("refused"))
    product()
    assert widened == []
