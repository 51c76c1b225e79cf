"""bf16 weights move as fp32's do: for every optimizer, whatever the slices, with nothing left behind."""

from types import SimpleNamespace

import pytest
import torch
from transformers import get_scheduler

from extensions.optimizers import state as optimizer_state
from extensions.optimizers.updates import REMAINDER, Updates
from tests.helpers.optimizer_cases import OPTIMIZERS, built, model, weights

BY_NAME = {facts.name: facts for facts in OPTIMIZERS}
EACH = pytest.mark.parametrize("facts", OPTIMIZERS, ids=lambda facts: facts.name)
UNIT = 2.0**-8  # half a unit of bf16 in the last place, relative


def pair(facts, kahan: bool, rate=1e-4, **more):
    """(model, optimizer) in bf16 under the replaced step, and the same in fp32 from equal weights."""
    low, high = model(torch.bfloat16), model(torch.bfloat16).float()
    optimizer = built(facts, low.parameters(), rate)
    counter = SimpleNamespace(done=0)
    Updates(optimizer, kahan, 5, lambda: counter.done, **more)
    return low, optimizer, high, built(facts, high.parameters(), rate), counter


def give_gradients(step: int, *nets) -> None:
    """Equal gradients to each model, bf16 values in its own dtype."""
    source = torch.Generator().manual_seed(step)
    for parameters in zip(*(net.parameters() for net in nets), strict=True):
        gradient = torch.randn(parameters[0].shape, generator=source).mul(1e-2).bfloat16()
        for parameter in parameters:
            parameter.grad = gradient.to(parameter.dtype, copy=True)


@EACH
@pytest.mark.parametrize("slice_elements", [1, 10_000, 10**9])
def test_a_step_is_the_fp32_step_rounded(facts, slice_elements):
    """kahan's weight and remainder hold 16 bits of it."""
    low, optimizer, high, reference, _ = pair(facts, True, slice_elements=slice_elements)
    for step in range(3):
        give_gradients(step, low, high)
        optimizer.step()
        reference.step()
        if step == 0:  # from the second step on bf16 moments differ from fp32 ones
            for one, other in zip(low.parameters(), high.parameters(), strict=True):
                value = one.float() + optimizer.state[one][REMAINDER].float()
                torch.testing.assert_close(value, other.detach(), rtol=2**-16, atol=1e-12)
                assert torch.equal(one.detach(), other.detach().bfloat16())
    for one, other in zip(low.parameters(), high.parameters(), strict=True):
        torch.testing.assert_close(one.float(), other.detach(), rtol=2 * UNIT, atol=4e-4)


@EACH
@pytest.mark.parametrize("kahan", [False, True])
def test_slices_do_not_matter(facts, kahan):
    results = []
    for slice_elements in (1, 6000, 10**9):
        low, optimizer, high, _, counter = pair(facts, kahan, slice_elements=slice_elements)
        for counter.done in range(3):
            give_gradients(counter.done, low)
            optimizer.step()
        results.append((weights(low), [group | {"params": None} for group in optimizer.param_groups]))
    for some, groups in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0][0], some, strict=True))
        assert groups == results[0][1], "what the library counts in a group is counted once"


@EACH
def test_state_is_no_larger_than_without_updates(facts):
    """And no fp32 copy of a weight is anywhere in it; kahan adds a bf16 buffer."""
    sizes = {}
    for kahan in (None, False, True):
        low = model(torch.bfloat16)
        optimizer = built(facts, low.parameters(), 1e-4)
        if kahan is not None:
            Updates(optimizer, kahan, 0, lambda: 0)
        give_gradients(0, low)
        for _ in range(2):
            optimizer.step()
        assert set(optimizer.state) == set(low.parameters())
        # CAME notes a norm in the dtype of the weights: two bytes more as an fp32 number.
        scalars = [v for s in optimizer.state.values() for v in s.values() if getattr(v, "ndim", 1) == 0]
        counters = sum(value.nbytes for value in scalars if isinstance(value, torch.Tensor))
        sizes[kahan] = optimizer_state.size(optimizer) - counters
    elements = sum(parameter.numel() for parameter in model().parameters())
    assert sizes[False] == sizes[None] and sizes[True] == sizes[None] + 2 * elements


@EACH
def test_same_seed_same_weights_on_every_process_and_pytorchs_stream_untouched(facts):
    results = []
    for stream in (1, 2, 3):
        low, optimizer, high, _, counter = pair(facts, False)
        torch.manual_seed(stream)  # processes differ in it
        counter.done = 1 if stream == 3 else 0
        give_gradients(0, low)
        before = torch.get_rng_state()
        optimizer.step()
        assert torch.equal(torch.get_rng_state(), before)
        results.append(weights(low))
    assert all(torch.equal(a, b) for a, b in zip(results[0], results[1], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(results[0], results[2], strict=True)), "another step, other bits"


def test_second_moments_fall_again():
    """To nearest, a bf16 second moment never falls: 0.1% a step is below half of its unit."""
    left = {}
    for replaced in (False, True):
        parameter = torch.nn.Parameter(torch.zeros(4096, dtype=torch.bfloat16))
        optimizer = built(BY_NAME["AdamW"], [parameter], 1e-6)
        counter = SimpleNamespace(done=0)
        if replaced:
            Updates(optimizer, False, 0, lambda counter=counter: counter.done)
        for counter.done in range(1001):
            parameter.grad = torch.full_like(parameter, 1.0 if counter.done == 0 else 0.0)
            optimizer.step()
        moment = optimizer.state[parameter]["exp_avg_sq"]
        assert moment.dtype == torch.bfloat16
        left[replaced] = moment.float().mean().item()
    expected = 1e-3 * 0.999**1000
    assert abs(left[True] / expected - 1) < 0.02 and left[False] > 2.5 * expected


def test_ddps_hooks_stay_on_the_parameters():
    """They hang on the parameter's gradient accumulator, which a change of dtype would replace."""
    low, optimizer, high, _, _ = pair(BY_NAME["AdamW"], False)

    def accumulators():
        return [parameter.expand_as(parameter).grad_fn.next_functions[0][0] for parameter in low.parameters()]

    kept = accumulators()
    give_gradients(0, low)
    optimizer.step()
    assert all(one is other for one, other in zip(kept, accumulators(), strict=True))
    assert all(parameter.dtype == parameter.grad.dtype == torch.bfloat16 for parameter in low.parameters())


def test_schedules_closures_and_parameters_without_a_gradient():
    low, optimizer, high, _, _ = pair(BY_NAME["AdamW"], False, rate=0.1)
    schedule = get_scheduler("linear", optimizer, 0, 10)
    frozen = low.last.weight.detach().clone()
    give_gradients(0, low)
    low.last.weight.grad = None
    enabled = []
    assert optimizer.step(lambda: enabled.append(torch.is_grad_enabled()) or 1.5) == 1.5 and enabled == [True]
    schedule.step()
    assert torch.equal(low.last.weight, frozen) and low.last.weight not in optimizer.state
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.09)


def test_fp32_parameters_beside_bf16_ones_are_the_optimizers_own():
    low, high = model(), model()
    low.linear.to(torch.bfloat16)
    one, other = (built(BY_NAME["Lion"], net.parameters(), 1e-3) for net in (low, high))
    Updates(one, True, 0, lambda: 0)
    for net, optimizer in ((low, one), (high, other)):
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert torch.equal(low.conv.weight, high.conv.weight) and REMAINDER not in one.state[low.conv.weight]
    assert REMAINDER in one.state[low.linear.weight]


def test_a_failing_step_leaves_the_groups_whole():
    low, optimizer, high, _, _ = pair(BY_NAME["AdaFactor, relative step"], False)
    groups = optimizer.param_groups
    give_gradients(0, low)
    optimizer.param_groups[0]["eps"] = None
    with pytest.raises(TypeError):
        optimizer.step()
    assert optimizer.param_groups is groups and groups[0]["params"] == list(low.parameters())


def one_of_two_processes(rank: int, folder: str) -> None:
    """Train with DDP on data and random streams that differ between the processes; leave the weights."""
    store = f"file://{folder}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    net = model(torch.bfloat16)
    torch.manual_seed(rank)
    wrapped = torch.nn.parallel.DistributedDataParallel(net)
    optimizer = built(BY_NAME["AdamW"], net.parameters(), 1e-4)
    counter = SimpleNamespace(done=0)
    Updates(optimizer, False, 5, lambda: counter.done)
    for counter.done in range(3):
        wrapped(torch.randint(0, 96, (2, 6))).float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.save(weights(net), f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


def test_two_processes_keep_the_same_weights(tmp_path):
    """DDP's hooks go on averaging gradients, and both round alike; else the models drift apart without a word."""
    torch.multiprocessing.spawn(one_of_two_processes, (str(tmp_path),), nprocs=2)
    one, other = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one, weights(model(torch.bfloat16)), strict=True))
