"""bf16 products in fp32: rounded once, the same through checkpointing and autocast, off outside."""

import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from extensions.model import cpu_products
from extensions.model.cpu_products import ProductsInFloat32


@pytest.fixture
def mode():
    with ProductsInFloat32() as made:
        yield made


def bf16(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(torch.bfloat16)


def test_a_product_is_the_rounded_fp32_one(mode):
    x, w, b = bf16(5, 64), bf16(32, 64, seed=1), bf16(32, seed=2)
    expected = (x.double() @ w.double().T + b.double()).to(torch.bfloat16)
    out = functional.linear(x, w, b)
    assert out.dtype == torch.bfloat16
    assert (out != expected).float().mean() < 0.01  # fp32 and fp64 sums may round apart now and then


def test_close_to_pytorchs_own_bf16():
    x, w = bf16(1, 8, 9, 9), bf16(8, 8, 3, 3, seed=1)
    native = functional.conv2d(x, w, padding=1)
    with ProductsInFloat32():
        torch.testing.assert_close(functional.conv2d(x, w, padding=1), native, rtol=0.02, atol=0.05)


def gradients(use_reentrant):
    layer = torch.nn.Linear(16, 16).to(torch.bfloat16)
    with torch.no_grad():
        layer.weight.copy_(bf16(16, 16))
        layer.bias.zero_()
    x = bf16(3, 16, seed=3).requires_grad_()
    out = layer(x) if use_reentrant is None else checkpoint(layer, x, use_reentrant=use_reentrant)
    out.float().square().mean().backward()
    return x.grad, layer.weight.grad


def test_checkpointed_blocks_get_the_same_gradients(mode):
    plain = gradients(None)
    for use_reentrant in (True, False):
        for one, other in zip(plain, gradients(use_reentrant), strict=True):
            assert one.dtype == torch.bfloat16 and torch.equal(one, other)


def test_recomputation_runs_in_the_mode(mode, monkeypatch):
    """The backward of a checkpoint must not fall back to slow bf16 kernels."""
    widened = []
    monkeypatch.setattr(cpu_products, "widened", lambda v: widened.append(v) or (v if v is None else v.float()))
    layer = torch.nn.Linear(4, 4, bias=False).to(torch.bfloat16)
    loss = checkpoint(layer, bf16(1, 4).requires_grad_(), use_reentrant=True).float().sum()
    forward = len(widened)
    loss.backward()
    assert len(widened) == 2 * forward > 0


def test_autocast_rounds_fp32_inputs_first(mode):
    x, w = torch.randn(4, 8), torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = functional.linear(x, w)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, (x.bfloat16().float() @ w.bfloat16().float().T).bfloat16())


def test_fp32_is_left_alone(mode):
    x = torch.randn(4, 8)
    out = functional.linear(x, x)
    assert out.dtype == torch.float32 and torch.equal(out, x @ x.T)


def test_outside_products_are_pytorchs_own(monkeypatch):
    with ProductsInFloat32():
        pass
    monkeypatch.setattr(cpu_products, "widened", None)
    functional.linear(bf16(2, 4), bf16(3, 4))
