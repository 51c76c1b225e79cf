"""Draws the uniform numbers from which a batch's timesteps come: a pure function of (seed, optimizer step, place).

A sample's place is its number among the samples of its update, over all ranks, micro-steps and the batch, in the
order in which the data are drawn. Ranks, processes' streams and what was drawn before have no part in it: a resume
and another number of processes with the same global batch draw the same.
"""

from functools import lru_cache

import xxhash

INDEPENDENT, STRATIFIED, UPSTREAM = DRAWS = "independent", "stratified", "upstream"
BITS = 52  # of a hash: with a half added, still exact in float64, and never 0 or 1


def hashed(*words: object) -> int:
    """Return 64 bits."""
    return xxhash.xxh3_64_intdigest(":".join(map(str, words)).encode())


def uniform(*words: object) -> float:
    """Return a number between 0 and 1, both excluded."""
    return ((hashed(*words) >> (64 - BITS)) + 0.5) / 2**BITS


def independent(seed: int, step: int, place: int) -> float:
    """Return the number of the sample at a place, whatever the others have."""
    return uniform("timestep", seed, step, place)


def stratified(seed: int, step: int, place: int, count: int) -> float:
    """Return the number of the sample at a place of an update of so many samples.

    Each has a stratum of width 1 / count for itself, and lies anywhere within: all numbers of the update together
    cover the interval evenly (jittered sampling; arXiv 2107.00630, appendix I.1, shifts one grid instead). Which
    sample has which stratum changes from step to step.
    """
    return (strata(seed, step, count)[place] + uniform("within", seed, step, place)) / count


@lru_cache(8)
def strata(seed: int, step: int, count: int) -> list[int]:
    """Return the stratum of each place: a permutation, the places in the order of a hash."""
    return sorted(range(count), key=lambda place: hashed("stratum", seed, step, place))
