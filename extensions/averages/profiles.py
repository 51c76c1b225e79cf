"""Weighs the steps of a run in an average: power functions of the time, and the usual exponential.

Karras et al. 2023 (arXiv 2312.02696), section 3: an average with beta(t) = (1 - 1/t)^(gamma + 1) weighs the weights
of time tau by tau^gamma: it grows with the run and forgets its beginning. Its length is the standard deviation
of that profile over the run's: sigma_rel = (gamma + 1)^(1/2) (gamma + 2)^-1 (gamma + 3)^(-1/2).

Times are optimizer steps since the average began. Over several steps at once the product of beta telescopes:
beta(before + 1) … beta(after) = (before / after)^(gamma + 1), so that an average of every k-th step is exact, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

LENGTHS = (0.05, 0.10)  # of the two that are tracked; others are made of them afterwards


def gamma_of(length: float) -> float:
    """Return the exponent of a length sigma_rel: the positive root of the cubic that the formula is in gamma."""
    inverse = length**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def length_of(gamma: float) -> float:
    """Return sigma_rel of an exponent."""
    return (gamma + 1) ** 0.5 / (gamma + 2) / (gamma + 3) ** 0.5


@dataclass(frozen=True)
class Power:
    """A power-function average of a length sigma_rel."""

    length: float

    @property
    def name(self) -> str:
        """ "0.10": as files and states have it."""
        short = f"{self.length:.2f}"
        return short if float(short) == self.length else repr(self.length)

    def keep(self, before: int, after: int) -> float:
        """Return the factor of the average at the update after `before` and at `after`, in optimizer steps.

        0 at the first: until then it is the weights that it began with.
        """
        return (before / after) ** (gamma_of(self.length) + 1)


@dataclass(frozen=True)
class Exponential:
    """The usual average: decay is the factor of one optimizer step."""

    decay: float

    @property
    def name(self) -> str:
        return f"decay{self.decay!r}"

    def keep(self, before: int, after: int) -> float:
        """Return the factor over these optimizer steps."""
        return self.decay ** (after - before)


Profile = Power | Exponential


def tracked(decay: float | None) -> list[Profile]:
    """Return the averages of a run. decay: of the exponential one, None without it."""
    return [*(Power(length) for length in LENGTHS), *([Exponential(decay)] if decay is not None else [])]


def updates(begin: int, until: int, every: int) -> np.ndarray:
    """Return the times of all updates: multiples of `every` after optimizer step `begin`, as seen from there."""
    return np.arange(begin - begin % every + every, until + 1, every, dtype=np.float64) - begin


def shares(length: float, end: float, times: np.ndarray) -> np.ndarray:
    """Return how much of a power-function average at time `end` lies on the updates until each of some times.

    Its distribution function: an update weighs what the profile has gained since the one before.
    """
    return (np.minimum(times, end) / end) ** (gamma_of(length) + 1)


def due(marks: Iterable[float], before: int, after: int) -> bool:
    """Tell whether one of some times lies after `before` and not after `after`."""
    return any(before < mark <= after for mark in marks)
