"""Deals the batches of an optimizer step to the ranks by what they cost.

Ranks meet when an update's gradients are summed, and all wait for the one with the most to compute. As drawn, that
is chance: images have a quarter to all of the full area. With --data_order=dealt the samples of an update are the
same, and the ranks' shares nearly equal:

1. the batches are sorted, longest first, and cut into as many groups as there are micro-steps;
2. group by group, the longest goes to the rank with the least so far, the next to the second, so that each rank has
   one of each group;
3. while it makes the two less unequal, the rank with the most and the one with the least exchange their batches of a
   group;
4. where the rank with the most has more than it would have as drawn, the ranks keep what was drawn for them;
5. each rank trains its own from the shortest to the longest.

Groups of like batches serve both engines. Under DDP only the sum of a rank's micro-steps counts. ZeRO-2 sums
gradients in each micro-step, so each waits for its own slowest: of all ways to cut the batches into groups, the
sorted one has the least sum of their longest. The longest come last because the sum of gradients hides behind the
backward pass of the last micro-step, which is then as long as it can be.

All numbers are integers, and ties go to the first: a function of the costs, alike on every machine.
"""

AS_DRAWN, DEALT = "as_drawn", "dealt"  # --data_order
Shares = list[list[int]]  # of each rank, the numbers of its batches


def dealt(costs: list[int], processes: int) -> list[int]:
    """Return the number of the batch at each place of an update, place `micro-step x processes + rank`.

    costs: of the update's batches, by their numbers. One rank, or one micro-step, has nothing to choose: as drawn.
    """
    numbers = list(range(len(costs)))
    if processes == 1 or len(costs) == processes:
        return numbers
    as_drawn = [numbers[rank::processes] for rank in range(processes)]
    shares = evened(in_groups(costs, processes), costs)
    if max(loads(shares, costs)) > max(loads(as_drawn, costs)):
        shares = as_drawn
    played = [sorted(share, key=costs.__getitem__) for share in shares]
    return [number for micro_step in zip(*played, strict=True) for number in micro_step]


def loads(shares: Shares, costs: list[int]) -> list[int]:
    """Return what each rank has to compute."""
    return [sum(costs[number] for number in share) for share in shares]


def in_groups(costs: list[int], processes: int) -> Shares:
    """Return steps 1 and 2: each rank's batches, one of each group."""
    longest_first = sorted(range(len(costs)), key=costs.__getitem__, reverse=True)  # equals stay in their order
    shares: Shares = [[] for _ in range(processes)]
    so_far = [0] * processes
    for first in range(0, len(costs), processes):
        least_first = sorted(range(processes), key=so_far.__getitem__)
        for number, rank in zip(longest_first[first : first + processes], least_first, strict=True):
            shares[rank].append(number)
            so_far[rank] += costs[number]
    return shares


def evened(shares: Shares, costs: list[int]) -> Shares:
    """Return step 3. It ends, for each exchange lessens the sum of the squared loads."""
    load = loads(shares, costs)
    while True:
        most, least = load.index(max(load)), load.index(min(load))
        apart, best = load[most] - load[least], None
        for group, (one, other) in enumerate(zip(shares[most], shares[least], strict=True)):
            moved = costs[one] - costs[other]
            left = abs(apart - 2 * moved)
            if 0 < moved < apart and (best is None or left < best[0]):
                best = left, group, moved
        if best is None:
            return shares
        _, group, moved = best
        shares[most][group], shares[least][group] = shares[least][group], shares[most][group]
        load[most] -= moved
        load[least] += moved
