"""Thins a curve of any length to bins of optimizer steps that lose no minimum and no maximum.

A bin is `width` optimizer steps, a power of two, counted from step 0: it keeps how many values fell into it, their
lowest, highest and sum. Where a curve outgrows BINS of them, neighbours become one; one of few values, as validation
has, keeps each at its step. So memory does not grow with the run, a block of new values costs the same at any step,
curves of several launches add up, and the same bins stand there however the values came.
"""

from dataclasses import dataclass, field

import numpy as np

BINS = 2048  # more than a chart has pixels
SMOOTH = 50  # a smoothed value is the mean over 1/SMOOTH of the curve's bins, around it


def _floats() -> np.ndarray:
    return np.zeros(0)


@dataclass
class Curve:
    """One figure over optimizer steps.

    width: optimizer steps a bin. bins: which, step // width, in order, only those that hold a value. count: values in
    it; low, high, total: of these. missing: values that are no finite number; missing_at: the first such step.
    last: (step, value) of the greatest step, None before the first value.
    """

    width: int = 1
    bins: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    count: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    low: np.ndarray = field(default_factory=_floats)
    high: np.ndarray = field(default_factory=_floats)
    total: np.ndarray = field(default_factory=_floats)
    missing: int = 0
    missing_at: int | None = None
    last: tuple[int, float] | None = None

    def add(self, steps: np.ndarray, values: np.ndarray) -> None:
        """Take values in, at any steps, in any order."""
        finite = np.isfinite(values)
        if not finite.all():
            self.missing += int((~finite).sum())
            first = int(steps[~finite].min())
            self.missing_at = first if self.missing_at is None else min(self.missing_at, first)
            steps, values = steps[finite], values[finite]
        if not len(steps):
            return
        newest = len(steps) - 1 - int(np.argmax(steps[::-1]))  # of equal steps, the one that came last
        if self.last is None or steps[newest] >= self.last[0]:
            self.last = (int(steps[newest]), float(values[newest]))
        self._take(steps // self.width, np.ones(len(steps), np.int64), values, values, values)

    def join(self, other: "Curve") -> None:
        """Take in what another launch has measured."""
        self.missing += other.missing
        known = [step for step in (self.missing_at, other.missing_at) if step is not None]
        self.missing_at = min(known, default=None)
        if other.last is not None and (self.last is None or other.last[0] >= self.last[0]):
            self.last = other.last
        while self.width < other.width:
            self._coarsen()
        bins = other.bins * other.width // self.width
        self._take(bins, other.count, other.low, other.high, other.total)

    def thinned(self, columns: int) -> "Curve":
        """Return the same in at most so many bins, of a chart's columns of pixels."""
        made = Curve(
            self.width,
            self.bins,
            self.count,
            self.low,
            self.high,
            self.total,
            self.missing,
            self.missing_at,
            self.last,
        )
        while made._span() > columns:
            made._coarsen()
        return made

    def steps(self) -> np.ndarray:
        """Optimizer steps at the middle of the bins."""
        return self.bins * self.width + (self.width - 1) / 2

    def means(self) -> np.ndarray:
        return self.total / self.count

    def smoothed(self) -> np.ndarray:
        """Return at each bin the mean of all values within 1/SMOOTH of the curve around it."""
        half = max(1, self._span() // (2 * SMOOTH))
        totals, counts = (np.concatenate([[0], np.cumsum(each)]) for each in (self.total, self.count))
        first = np.searchsorted(self.bins, self.bins - half)
        after = np.searchsorted(self.bins, self.bins + half, side="right")
        return (totals[after] - totals[first]) / (counts[after] - counts[first])

    def _span(self) -> int:
        return int(self.bins[-1] - self.bins[0]) + 1 if len(self.bins) else 0

    def _take(self, bins, count, low, high, total) -> None:
        """Add to the bins. All given bins are of this curve's width."""
        self._fold(
            *(np.concatenate(pair) for pair in zip(self._columns(), (bins, count, low, high, total), strict=True))
        )
        while len(self.bins) > BINS:
            self._coarsen()

    def _coarsen(self) -> None:
        """Make one bin of two."""
        self.width *= 2
        self._fold(self.bins // 2, *self._columns()[1:])

    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.bins, self.count, self.low, self.high, self.total

    def _fold(self, bins, count, low, high, total) -> None:
        """Put together what fell into the same bin."""
        if not len(bins):
            return
        order = np.argsort(bins, kind="stable")
        bins = bins[order]
        starts = np.flatnonzero(np.concatenate([[True], bins[1:] != bins[:-1]]))
        self.bins, self.count = bins[starts], np.add.reduceat(count[order], starts)
        self.low, self.high = np.minimum.reduceat(low[order], starts), np.maximum.reduceat(high[order], starts)
        self.total = np.add.reduceat(total[order], starts)
