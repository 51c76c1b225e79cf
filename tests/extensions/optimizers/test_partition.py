"""Weights among ranks: the bound of list scheduling, for any costs."""

from hypothesis import given
from hypothesis import strategies as st

from extensions.model import full_size
from extensions.optimizers import facts
from extensions.optimizers.partition import owners


@given(st.lists(st.integers(0, 10**9), max_size=60), st.integers(1, 9))
def test_no_rank_has_more_than_the_mean_and_the_largest(costs, ranks):
    found = owners(costs, ranks)
    assert len(found) == len(costs) and set(found) <= set(range(ranks))
    loads = [sum(cost for cost, owner in zip(costs, found, strict=True) if owner == rank) for rank in range(ranks)]
    assert max(loads) <= sum(costs) / ranks + max(costs, default=0)
    assert found == owners(costs, ranks)


def test_sdxl_is_divided_nearly_evenly():
    """Adam in 8 bits: no rank of four has a hundredth more than a quarter."""
    shapes = [shape for model in full_size.shapes("sdxl").values() for shape in model.values()]
    costs = [facts.of_flag("AdamW8bit").bytes_of(tuple(shape), 2) for shape in shapes]
    found = owners(costs, 4)
    loads = [sum(cost for cost, owner in zip(costs, found, strict=True) if owner == rank) for rank in range(4)]
    assert max(loads) < 1.01 * sum(costs) / 4
