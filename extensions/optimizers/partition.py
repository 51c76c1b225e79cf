"""Divides weights among ranks by what each costs: largest first, to whom has least.

The largest load is at most the mean and the largest weight together (Graham, 1969: list scheduling).
"""

import heapq
from collections.abc import Sequence

CLAIM = "which rank keeps an optimizer's state"  # of the plugin that divides it
MESSAGE = 64 * 2**20  # bytes of weights that are sent at once; a larger weight goes alone, and without a copy
IN_FLIGHT = 2  # messages beside the one that is made


def owners(costs: Sequence[int], ranks: int) -> list[int]:
    """Return the rank of each weight, in their order; equal ones go by number, so that every rank finds the same."""
    loads = [(0, rank) for rank in range(ranks)]
    found = [0] * len(costs)
    for number in sorted(range(len(costs)), key=lambda number: (-costs[number], number)):
        load, rank = heapq.heappop(loads)
        found[number] = rank
        heapq.heappush(loads, (load + costs[number], rank))
    return found
