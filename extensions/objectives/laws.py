"""Turns numbers that are uniform between 0 and 1 into levels of noise s, by a law, a shift and bounds.

A law is its distribution function and that function's inverse: a number u becomes the s below which a share u of the
law lies. So a set of numbers that covers the unit interval evenly covers the law evenly, and bounds cut the law's
tails off without piling them up at the ends. In float64 and without PyTorch: the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from extensions.objectives.flow import shifted, unshifted

UNIFORM, LOGIT_NORMAL, BETA, COSMAP = LAWS = "uniform", "logit_normal", "beta", "cosmap"
NORMAL = NormalDist()
TERMS = 120  # enough for float64 where alpha and beta are below some thousands
STEPS, PRECISION = 100, 1e-15


@dataclass(frozen=True)
class Law:
    """A distribution of s in (0, 1).

    mean, deviation: of the logit of s, LOGIT_NORMAL (arXiv 2403.03206, sec. 3.1). alpha, beta: of BETA. COSMAP: the
    same paper's law that has in flow the log-SNR of the cosine schedule.
    """

    name: str = UNIFORM
    mean: float = 0.0
    deviation: float = 1.0
    alpha: float = 1.0
    beta: float = 1.0

    def below(self, level: float) -> float:
        """Return the share of the law below a level of noise."""
        if self.name == UNIFORM or level <= 0 or level >= 1:
            return min(max(level, 0.0), 1.0)
        if self.name == LOGIT_NORMAL:
            return NORMAL.cdf((math.log(level / (1 - level)) - self.mean) / self.deviation)
        if self.name == BETA:
            return beta_below(self.alpha, self.beta, level)
        return 2 / math.pi * math.atan(level / (1 - level))

    def at(self, share: float) -> float:
        """Return the level below which this share of the law lies."""
        if self.name == UNIFORM or share <= 0 or share >= 1:
            return min(max(share, 0.0), 1.0)
        if self.name == LOGIT_NORMAL:
            return sigmoid(self.mean + self.deviation * NORMAL.inv_cdf(share))
        if self.name == BETA:
            return beta_at(self.alpha, self.beta, share)
        return 1 - 1 / (math.tan(math.pi * share / 2) + 1)


def level_of(law: Law, number: float, shift: float, low: float, high: float) -> float:
    """Return s for a number in [0, 1): by the law, shifted, of what the law has between two levels."""
    first, last = law.below(unshifted(low, shift)), law.below(unshifted(high, shift))
    level = shifted(law.at(first + (last - first) * number), shift)
    return min(max(level, low), high)


def sigmoid(value: float) -> float:
    """Return 1 / (1 + exp(-value)), also where exp would overflow."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def beta_at(alpha: float, beta: float, share: float) -> float:
    """Return the level below which this share of the beta law lies: Newton's steps, between bounds that close in."""
    low, high, level = 0.0, 1.0, alpha / (alpha + beta)
    for _ in range(STEPS):
        missing = share - beta_below(alpha, beta, level)
        low, high = (level, high) if missing > 0 else (low, level)
        after = level + missing / math.exp(log_density(alpha, beta, level))
        if not low < after < high:
            after = (low + high) / 2
        if abs(after - level) <= PRECISION * after:
            return after
        level = after
    return level


def log_density(alpha: float, beta: float, level: float) -> float:
    """Return the logarithm of the beta law's density."""
    scale = math.lgamma(alpha + beta) - math.lgamma(alpha) - math.lgamma(beta)
    return scale + (alpha - 1) * math.log(level) + (beta - 1) * math.log1p(-level)


def beta_below(alpha: float, beta: float, level: float) -> float:
    """Return the regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if level <= 0 or level >= 1:
        return float(level >= 1)
    if level > (alpha + 1) / (alpha + beta + 2):  # where the fraction would converge slowly
        return 1 - beta_below(beta, alpha, 1 - level)
    scale = math.exp(log_density(alpha, beta, level)) * level * (1 - level)
    return scale / alpha * _fraction(alpha, beta, level)


def _fraction(alpha: float, beta: float, level: float) -> float:
    """Evaluate 1 / (1 + d1 / (1 + d2 / (1 + …))) from the inside."""
    found = 1.0
    for number in range(TERMS, 0, -1):
        half, place = number // 2, alpha + number
        upper = -(alpha + half) * (alpha + beta + half) if number % 2 else half * (beta - half)
        found = 1 + upper * level / ((place - 1) * place) / found
    return 1 / found
