"""Compares a model's blends along the line between two ends: which is best on held-out images, and beyond doubt?

All are asked the same questions, so that the images' own errors are compared one by one: what they have in common
falls out. A difference counts beyond TWICE its standard error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np

from extensions.base.errors import UserError
from extensions.evaluation.figures import mean, paired, standard_error

TWICE = 2.0
MOST = 101  # ratios of one scan
BEATS, UNSURE, NONE = "beats both ends", "is lowest, within the error", "none"


@dataclass(frozen=True)
class Point:
    """A blend that was asked. errors: of x_0, an image each, float64 (images,)."""

    ratio: float
    errors: np.ndarray

    @property
    def mean(self) -> float:
        return mean(self.errors)

    @property
    def error(self) -> float | None:
        return standard_error(self.errors)


def ratios_of(text: str) -> list[float]:
    """Return the ratios of "0:1:0.1" or "0.4,0.5", rising, always with 0 and 1. UserError for what is none."""
    line = f"RATIOS={text} is neither FIRST:LAST:STEP nor ratios with commas between them, from 0 to 1; give 0:1:0.1"
    try:
        if re.search("[^-+.:,eE0-9 ]", text):
            raise ValueError("neither")
        parts = [Decimal(part.strip()) for part in re.split("[:,]", text)]
        found = stepped(*parts) if ":" in text else parts
    except (InvalidOperation, ValueError, TypeError):
        raise UserError(line) from None
    if not all(0 <= each <= 1 for each in found):
        raise UserError(line)
    every = sorted({float(each) for each in found} | {0.0, 1.0})
    if len(every) > MOST:
        raise UserError(f"RATIOS={text} are {len(every):,} ratios; give at most {MOST}")
    return every


def stepped(first: Decimal, last: Decimal, step: Decimal) -> list[Decimal]:
    """Return first, first + step, … up to last: in decimals, so that ten tenths are one. ValueError for no step."""
    if not (step > 0 and last >= first) or (last - first) / step > 10 * MOST:
        raise ValueError("no step")
    return [first + number * step for number in range(int((last - first) / step) + 1)]


def compared(point: Point, other: Point) -> dict[str, float | None]:
    """Return the mean difference of the images' errors to another blend's, and its standard error."""
    return paired(point.errors, other.errors)


def beyond(difference: dict[str, float | None]) -> bool:
    """Tell whether a difference is below 0 by more than twice its error. Of one image nobody knows."""
    found, error = difference["x0"], difference["error"]
    return found is not None and error is not None and found < -TWICE * error


def verdict(points: Sequence[Point]) -> tuple[str, Point]:
    """Return (BEATS, UNSURE or NONE, the best point). The first and the last are the ends.

    NONE: an end has the least error. The best of many is picked because it is low: its figure is a little too good.
    """
    ends = points[0], points[-1]
    best = min(points, key=lambda point: point.mean)
    if best in ends:
        return NONE, best
    sure = all(beyond(compared(best, end)) for end in ends)
    return (BEATS if sure else UNSURE), best


def told(points: Sequence[Point], first: str, last: str) -> str:
    """In one line, which ratio beats both ends, or that none does. first, last: what 0 and 1 are."""
    said, best = verdict(points)
    if said == NONE:
        return f"no ratio beats both ends: {first if best is points[0] else last} has the least error of x_0"
    sides = (
        f"{-(difference['x0'] or 0):.5f} ± {difference['error'] or 0:.5f} below {name}"
        for name, end in ((first, points[0]), (last, points[-1]))
        for difference in [compared(best, end)]
    )
    line = f"RATIO={best.ratio:g} {said}: error of x_0 {best.mean:.5f}, {', '.join(sides)}"
    if said == BEATS:
        return line
    return f"{line}; no ratio beats both ends beyond twice the error, ask about more images"
