"""Fits an average of any length to averages that were kept: Karras et al. 2023, algorithm 3, by least squares.

Every kept average is a known weighing of the run's steps, and so is the wanted one: the factors are those whose sum
comes closest to the wanted weighing. Two things differ from the paper's. The factors add up to 1, so that what has
not moved stays where it is. And what is held close are distribution functions instead of densities: the error of an
average is the sum of the run's steps, each times the difference of the distribution functions there, so that this is
the error in the mean for weights whose steps are alike. A density with the jumps of kept averages in it, as the
longest lengths need, comes out five times closer (docs/averages.md).
"""

from collections.abc import Sequence

import numpy as np

from extensions.averages import profiles

SHORTEST, LONGEST = 0.02, 0.25  # lengths that two tracks of 0.05 and 0.10 give well
BLOCK = 1 << 16  # updates at once: a run of 778,000 has more than memory should hold
SMALLEST = 1e-13  # of the largest singular value: what is smaller is the rounding of the matrix


def factors(kept: Sequence[tuple[float, float]], end: float, length: float, times: np.ndarray) -> np.ndarray:
    """Return the factor of each kept average in that of `length` at time `end`.

    kept: (length, time) of each; times: of all updates (`profiles.updates`).
    """
    count = len(kept)
    products, wanted = np.zeros((count, count)), np.zeros(count)
    for first in range(0, len(times), BLOCK):
        block = times[first : first + BLOCK]
        rows = np.stack([profiles.shares(each, time, block) for each, time in kept])
        products += rows @ rows.T
        wanted += rows @ profiles.shares(length, end, block)
    scale = products.max()
    ones = np.full((count, 1), scale)
    system = np.block([[products, ones], [ones.T, np.zeros((1, 1))]])
    return np.linalg.lstsq(system, np.append(wanted, scale), rcond=SMALLEST)[0][:count]
