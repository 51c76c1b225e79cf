"""Stochastic rounding is right in the mean and touches neighbours only; Kahan's sum is fp64's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.optimizers import rounding

DRAWS = 40_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise_for(values, source):
    words = torch.empty(-(-values.numel() // rounding.ELEMENTS), dtype=torch.int64)
    rounding.draw_(words, source)
    return words.view(torch.int16)[: values.numel()].view(values.shape)


def stochastic(values, source):
    rounded = values.clone()
    rounding.nudge_(rounded, noise_for(values, source))
    assert torch.equal(rounded[~rounded.isnan()].bfloat16().float(), rounded[~rounded.isnan()]), "bf16's numbers"
    return rounded.bfloat16()


def compensated(values, source):
    rest = values.clone()
    rounding.rest_(rest, noise_for(values, source))
    return values.bfloat16(), rest.bfloat16()


def neighbours(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The bf16 numbers next to fp32 values towards zero and away from it, by their bits."""
    low = (value.view(torch.int32) & -0x10000).view(torch.float32)
    return low, (low.view(torch.int32) + 0x10000).view(torch.float32)


@settings(max_examples=30)
@given(st.floats(width=32, min_value=2.0**-100, max_value=2.0**100), st.sampled_from([1.0, -1.0]), st.integers(0, 99))
def test_the_mean_of_many_roundings_is_the_value(size, sign, seed):
    value = torch.tensor(sign * size, dtype=torch.float32)
    rounded = stochastic(value.expand(DRAWS).contiguous(), generator(seed)).double()
    low, high = (x.double() for x in neighbours(value))
    assert torch.all((rounded == low) | (rounded == high)), "a neighbour, nothing else"
    share = ((value.double() - low) / (high - low)).item()
    bound = 5 * (share * (1 - share) / DRAWS) ** 0.5 + 1e-12
    assert abs((rounded == high).double().mean().item() - share) <= bound


def test_no_element_is_rounded_by_the_draw_of_another():
    """Four elements share a random word; their roundings must not hang together."""
    half = torch.full((DRAWS,), 1 + 2.0**-8)  # in the middle of its neighbours
    up = (stochastic(half, generator()) > 1).double().view(-1, 4)
    together = torch.corrcoef(up.T) - torch.eye(4, dtype=torch.float64)
    assert together.abs().max() < 5 / (DRAWS / 4) ** 0.5


def test_what_bf16_holds_stays_and_so_do_infinities_and_nan():
    held = torch.randn(10_001, generator=generator()).to(torch.bfloat16)
    assert torch.equal(stochastic(held.float(), generator(1)), held)
    odd = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0, -0.0])
    nan = torch.tensor([0x7F800001, 0x7FFFFFFF, -1], dtype=torch.int32).view(
        torch.float32
    )  # payloads that carry over
    for seed in range(50):
        rounded = stochastic(odd, generator(seed))
        assert torch.equal(rounded[[0, 1, 3, 4]], odd[[0, 1, 3, 4]].bfloat16()) and rounded[2].isnan()
        assert stochastic(nan, generator(seed)).isnan().all()


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 8, 3, 3)])
def test_any_shape_and_layout(shape):
    values = torch.randn(shape, generator=generator())
    if len(shape) == 4:
        values = values.to(memory_format=torch.channels_last)
    rounded = stochastic(values, generator())
    assert rounded.shape == values.shape and rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), values, rtol=2**-7, atol=0)


def test_one_seed_one_result_and_pytorchs_stream_is_left_alone():
    values, before = torch.randn(1000), torch.get_rng_state()
    assert torch.equal(stochastic(values, generator(3)), stochastic(values, generator(3)))
    assert not torch.equal(stochastic(values, generator(3)), stochastic(values, generator(4)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("start", [0.02, 1.0])
def test_kahan_sums_ten_thousand_tiny_updates_as_fp64_does(start):
    """Also for a weight of 1, where a remainder that is rounded to nearest stops growing."""
    updates = 1.5e-6 * torch.rand(10_000, generator=generator(), dtype=torch.float64)
    expected = updates.sum().item()
    source, weight, remainder = generator(1), torch.full((256,), start).bfloat16(), torch.zeros(256).bfloat16()
    base = weight.double()
    stuck_weight, stuck_rest = weight.clone(), remainder.clone()
    for update in updates.float():
        weight, remainder = compensated(weight.float() + remainder.float() + update, source)
        exact = stuck_weight.float() + stuck_rest.float() + update
        stuck_weight = exact.bfloat16()
        stuck_rest = (exact - stuck_weight.float()).bfloat16()
    moved = weight.double() + remainder.double() - base
    # Each step may err by one unit of the remainder, in either direction.
    unit = start * 2**-17
    assert abs(moved.mean().item() - expected) < 5 * unit * (10_000 / 256) ** 0.5
    assert (moved - expected).abs().max() < 6 * unit * 10_000**0.5
    assert (moved.mean() / expected - 1).abs() < 0.02
    if start == 1.0:
        assert (stuck_weight.double() + stuck_rest.double() - base).mean() < 0.5 * expected


def test_kahan_parts():
    values = torch.cat(
        [torch.randn(10_000, generator=generator()), torch.tensor([float("inf"), float("nan"), 3.4e38])]
    )
    nearest, remainder = compensated(values, generator())
    assert nearest.dtype == remainder.dtype == torch.bfloat16
    assert torch.equal(nearest[:-2], values.bfloat16()[:-2]) and nearest[-2].isnan()
    assert remainder.isfinite().all() and torch.equal(remainder[-3:].float(), torch.zeros(3))
    sums = nearest[:-3].double() + remainder[:-3].double()
    assert ((sums / values[:-3].double()) - 1).abs().max() <= 2**-16
