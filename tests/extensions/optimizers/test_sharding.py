"""An optimizer divided among ranks: the bits of the whole one, a share of its bytes, any number that goes on."""

import pytest
import torch

from extensions.optimizers import facts, sharding
from tests.helpers.sharding_cases import WAYS, ran

NAMES = [row.name for row in facts.OPTIMIZERS]


def assert_equal_and_divided(found: list[dict], processes: int) -> None:
    for case in found[0]:
        of_ranks = [rank[case] for rank in found]
        assert all(each["equal"] and each["moved"] for each in of_ranks), case
        total, largest = of_ranks[0]["total"], of_ranks[0]["largest"]
        assert max(each["own"] for each in of_ranks) <= total / processes + largest, case
        assert sum(each["own"] for each in of_ranks) >= total, case


def test_two_processes_step_as_one_does(tmp_path):
    found = ran(2, tmp_path, what="compare", updates=3, ways=["kahan"], names=["AdamW8bit", "CAME"])
    assert len(found[0]) == 2
    assert_equal_and_divided(found, 2)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_fifty_updates_of_every_optimizer_and_rounding_are_those_of_the_whole_one(processes, tmp_path):
    found = ran(processes, tmp_path, what="compare", updates=50)
    assert set(found[0]) == {f"{name}, {way}" for name in NAMES for way in WAYS} and len(found[0]) == 27
    assert_equal_and_divided(found, processes)


@pytest.mark.slow
def test_a_state_of_two_processes_goes_on_with_one(tmp_path):
    few = {"ways": ["stochastic"], "names": ["AdamW8bit", "AdamW4bit"]}
    ran(2, tmp_path, what="save", **few)
    found = ran(1, tmp_path, what="go on", **few)
    assert len(found[0]) == 2 and all(all(each.values()) for each in found[0].values()), found


@pytest.mark.slow
def test_a_state_of_four_processes_goes_on_with_any_number(tmp_path):
    """Divided or not; and one that was saved whole goes on divided."""
    ran(4, tmp_path, what="save")
    for processes in (1, 2, 8):
        for found in ran(processes, tmp_path, what="go on"):
            assert len(found) == 27
            assert all(all(each.values()) for each in found.values()), (processes, found)


def test_another_optimizer_is_not_divided():
    """Where one weight acts on another, a rank that does not see all of them steps otherwise."""
    with pytest.raises(ValueError, match="torch.optim.adamax.Adamax is not in the table"):
        sharding.Shards(torch.optim.Adamax([torch.nn.Parameter(torch.zeros(3))]))


def test_one_process_steps_by_itself():
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    shards = sharding.Shards(optimizer)
    weight.grad = torch.ones(4)
    assert shards.step(lambda: "stepped") == "stepped" and sharding.of(optimizer) is shards
    assert shards.own_bytes() == sum(shards.costs) == 2 * 4 * 4


def test_messages_are_of_whole_weights_in_order():
    weights = [torch.zeros(n) for n in (3, 5, 400, 1, 1)]
    assert [[w.numel() for w in some] for some in sharding.messages(weights, 40)] == [[3, 5], [400], [1, 1]]


@pytest.mark.parametrize("dtypes", [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)])
def test_bytes_of_mixed_weights_come_back_as_they_were(dtypes):
    """An odd number of bf16 leaves the next weight at an address that fp32 cannot have."""
    weights = [torch.randn(3, 1).to(dtypes[0]), torch.randn(5).to(dtypes[1])]
    sent = torch.cat([sharding.as_bytes(each) for each in weights])
    for weight, piece in zip(weights, sent.split([each.nbytes for each in weights]), strict=True):
        assert sharding.aligned(piece).view(weight.dtype).view(weight.shape).equal(weight)
