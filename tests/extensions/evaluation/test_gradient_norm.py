"""The norm of an update's gradients is PyTorch's, before clipping, and the update is what it was."""

import argparse

import pytest
import torch
from accelerate import Accelerator

from extensions.evaluation.gradient_norm import GradientNorm, norm_of
from extensions.loop import Run


def train(max_grad_norm: float, watched: bool, steps: int = 2, **more):
    """Weights and norms after some steps of two micro-steps each."""
    torch.manual_seed(1)
    net = torch.nn.Linear(8, 8)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    net, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.1))
    args = argparse.Namespace(max_grad_norm=max_grad_norm, **more)
    norm = GradientNorm(Run(args, accelerator, optimizer, None, None)) if watched else None
    found, wanted = [], []
    for _ in range(steps):
        for _ in range(2):
            with accelerator.accumulate(net):
                accelerator.backward(net(torch.randn(4, 8)).square().sum())
                if accelerator.sync_gradients:
                    wanted.append(torch.nn.utils.get_total_norm([p.grad for p in net.parameters()]).item())
                    if max_grad_norm:
                        accelerator.clip_grad_norm_(net.parameters(), max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
        found.append(norm.value() if norm else None)
    return net.weight.detach().clone(), found, wanted


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
def test_it_is_pytorchs_and_changes_nothing(max_grad_norm):
    weight, found, wanted = train(max_grad_norm, True)
    assert found == pytest.approx(wanted, rel=1e-6) and min(wanted) > 1.0
    assert torch.equal(weight, train(max_grad_norm, False)[0])


def test_fused_backward_passes_have_none():
    assert train(0.0, True, fused_backward_pass=True)[1] == [None, None]


def test_bf16_gradients_are_summed_in_float32():
    """In bf16 a sum of 65,536 ones squared would stand still at 256."""
    weight = torch.nn.Parameter(torch.zeros(65_536, dtype=torch.bfloat16))
    weight.grad = torch.ones_like(weight)
    assert norm_of([{"params": [weight, torch.nn.Parameter(torch.zeros(1))]}]) == 256
    assert norm_of([{"params": [torch.nn.Parameter(torch.zeros(1))]}]) is None
