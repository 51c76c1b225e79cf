"""How an update's batches are dealt: none lost, each rank as many, never worse than as drawn, and always the same."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.data.dealing import dealt, evened, in_groups, loads


@st.composite
def updates(draw):
    """(costs of an update's batches, processes), like buckets (few costs, ties) or anything."""
    processes, accumulation = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    cost = draw(st.sampled_from([st.sampled_from([1589, 3219, 4943, 6761]), st.integers(1, 10**9)]))
    return draw(st.lists(cost, min_size=processes * accumulation, max_size=processes * accumulation)), processes


def shares_of(numbers, processes):
    return [numbers[rank::processes] for rank in range(processes)]


def waited_for(costs, numbers, processes):
    """(the most that a rank computes, the sum of each micro-step's longest)."""
    micro_steps = [numbers[first : first + processes] for first in range(0, len(numbers), processes)]
    longest = sum(max(costs[number] for number in micro_step) for micro_step in micro_steps)
    return max(loads(shares_of(numbers, processes), costs)), longest


@given(updates())
def test_each_batch_once_each_rank_as_many_and_never_worse_than_as_drawn(update):
    costs, processes = update
    numbers = dealt(costs, processes)
    assert sorted(numbers) == list(range(len(costs)))
    before = waited_for(costs, list(range(len(costs))), processes)
    after = waited_for(costs, numbers, processes)
    assert after[0] <= before[0] and after[1] <= before[1]
    assert numbers == dealt(list(costs), processes)


@given(updates())
def test_each_rank_goes_from_short_to_long(update):
    costs, processes = update
    if processes > 1 and len(costs) > processes:
        for share in shares_of(dealt(costs, processes), processes):
            assert [costs[number] for number in share] == sorted(costs[number] for number in share)


@given(updates())
def test_ranks_differ_by_no_more_than_the_batches_of_a_group(update):
    """Induction over the groups: who has less gets the longer batch, so a difference never grows beyond theirs."""
    costs, processes = update
    falling = sorted(costs, reverse=True)
    groups = [falling[first : first + processes] for first in range(0, len(costs), processes)]
    found = loads(in_groups(costs, processes), costs)
    better = loads(evened(in_groups(costs, processes), costs), costs)
    assert max(found) - min(found) <= max(group[0] - group[-1] for group in groups)
    assert max(better) <= max(found) and min(better) >= min(found) and sum(better) == sum(found) == sum(costs)


@given(updates(), st.integers(0, 2**32))
def test_what_each_rank_has_to_compute_does_not_depend_on_the_drawn_order(update, seed):
    costs, processes = update
    others = random.Random(seed).sample(costs, len(costs))
    found = (loads(evened(in_groups(one, processes), one), one) for one in (costs, others))
    assert next(found) == next(found)


@given(st.lists(st.integers(1, 60), min_size=6, max_size=6))
def test_micro_steps_wait_as_little_as_any_order_allows(costs):
    """Two ranks, three micro-steps: all 720 orders tried, where the ranks' sums leave the groups as they are."""
    shares = evened(in_groups(costs, 2), costs)
    least = min(waited_for(costs, list(order), 2)[1] for order in itertools.permutations(range(6)))
    assert sum(max(costs[a], costs[b]) for a, b in zip(*shares, strict=True)) == least


@pytest.mark.parametrize(("costs", "processes"), [([5, 1, 9], 3), ([5, 1, 9], 1), ([7], 1)])
def test_one_rank_or_one_micro_step_keeps_what_was_drawn(costs, processes):
    assert dealt(costs, processes) == list(range(len(costs)))


def test_by_hand():
    """Groups 9 8, 5 3, 2 2: rank 0 takes 9, 3, 2; rank 1 takes 8, 5, 2; 14 and 15. No exchange makes it more even."""
    assert dealt([9, 2, 5, 2, 3, 8], 2) == [1, 3, 4, 2, 0, 5]
    # Groups 6 3, 3 2, 1 1 give 9 and 7, and no exchange 8 and 8, which was drawn.
    drawn = [6, 3, 1, 3, 1, 2]
    assert dealt(drawn, 2) == [2, 5, 4, 1, 0, 3] and waited_for(drawn, dealt(drawn, 2), 2)[0] == 8
