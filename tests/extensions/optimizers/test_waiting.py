"""bitsandbytes waits for the GPU only where the order of its kernels does not do; that there is one is pretended."""

import bitsandbytes
import pytest
import torch
from bitsandbytes.optim import optimizer as of_bitsandbytes

from extensions.model.models import Models
from extensions.optimizers import waiting
from extensions.optimizers.facts import OPTIMIZERS
from extensions.trainer import hook_points
from tests.helpers.optimizer_cases import built, model

CASES = {facts.name: facts for facts in OPTIMIZERS}
EIGHT_BITS = ("AdamW8bit", "Lion8bit")


@pytest.fixture
def waits(monkeypatch):
    """The tensors that were waited for."""
    found: list[torch.Tensor] = []
    monkeypatch.setattr(of_bitsandbytes, "sync_gpu", found.append)
    return found


def stepped(name: str) -> list[torch.Tensor]:
    """Weights after two steps of an optimizer as a trainer builds it."""
    small = model(torch.bfloat16)
    optimizer = built(CASES[name], list(small.parameters()), 1e-2)
    hook_points.optimizer_built(Models("sdxl", small, []), optimizer)
    torch.manual_seed(1)
    for _ in range(2):
        for parameter in small.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return [parameter.detach().clone() for parameter in small.parameters()]


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_in_order_nothing_is_waited_for_and_no_weight_differs(name, waits, monkeypatch):
    wanted = stepped(name)
    assert len(waits) == 2 * len(wanted)  # on a CPU nobody is in order: every wait stays bitsandbytes' own
    waits.clear()
    monkeypatch.setattr(waiting, "in_order", lambda _: True)
    ours = of_bitsandbytes.sync_gpu
    assert all(map(torch.equal, stepped(name), wanted)) and not waits
    assert of_bitsandbytes.sync_gpu is ours  # and no wrapper around a wrapper


@pytest.mark.parametrize("name", [name for name in CASES if name not in EIGHT_BITS])
def test_other_optimizers_are_left_alone(name):
    optimizer = built(CASES[name], [torch.nn.Parameter(torch.zeros(64, 64))], 1e-3)
    before = of_bitsandbytes.sync_gpu
    assert not waiting.wait_only_where_needed(optimizer) and of_bitsandbytes.sync_gpu is before


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [(torch.version, "hip", "6.4"), (bitsandbytes, "__version__", "0.51.0"), (None, "is_paged", True)],
)
def test_what_needs_the_waits_keeps_them(owner, name, value, waits, monkeypatch):
    optimizer = built(CASES["AdamW8bit"], [torch.nn.Parameter(torch.zeros(64, 64))], 1e-3)
    before = of_bitsandbytes.sync_gpu
    monkeypatch.setattr(owner or optimizer, name, value)
    assert not waiting.wait_only_where_needed(optimizer) and of_bitsandbytes.sync_gpu is before


@pytest.mark.parametrize(("kind", "stream", "alone"), [("cuda", 0, True), ("cuda", 7, False), ("cpu", 0, False)])
def test_the_default_stream_of_cuda_is_in_order(kind, stream, alone, monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: type("Stream", (), {"cuda_stream": stream}))
    assert waiting.in_order(torch.device(kind)) is alone
