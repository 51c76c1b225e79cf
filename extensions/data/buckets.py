"""Picks the bucket (resolution) that an image is trained at.

The rule of the SDXL sets: both sides are multiples of 64, the area is at most `max_area`, and an image
goes to the bucket whose aspect ratio is nearest to its own on a logarithmic scale, so that 2:1 and 1:2
count alike. No bucket is more elongated than 4:1. A resolution is (width, height) in pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from extensions.base.errors import UserError

STEP = 64
MAX_ASPECT = 4
SHORTEST, LONGEST = 256, 1024  # sides of the historical buckets
SDXL_AREA = 1024 * 1024
SD2_AREA = 768 * 768
STANDIN_AREA = 192 * 192

Resolution = tuple[int, int]


@dataclass(frozen=True)
class Rule:
    """How an image's size gives its bucket. name: says all that decides it; choose: of (size, buckets)."""

    name: str
    buckets: list[Resolution]
    choose: Callable[[Resolution, list[Resolution]], Resolution]

    def bucket(self, size: Resolution) -> Resolution:
        """Return the bucket for an image of `size`. UserError for a side below 1 px."""
        return self.choose(size, self.buckets)


def nearest(max_area: int) -> Rule:
    """Return the rule of this file's head, for the stand-ins."""
    return Rule(f"nearest {max_area}", bucket_resolutions(max_area), choose_bucket)


def historical(max_area: int) -> Rule:
    """Give the rule of the recorded data sets, for `make latents`: sd-scripts' preparation's default.

    A bucket for each side of 256 to 1024 px in steps of 64, the other as long as area and 1024 px allow: 25
    buckets at 1024x1024. Chosen by the least difference of width/height, so that tall images have finer steps than
    wide ones.
    """
    found = {(math.isqrt(max_area) // STEP * STEP,) * 2}
    for side in range(SHORTEST, LONGEST + 1, STEP):
        other = min(LONGEST, max_area // side // STEP * STEP)
        if other >= SHORTEST:
            found |= {(side, other), (other, side)}
    return Rule(f"historical {max_area}", sorted(found), least_difference)


def least_difference(size: Resolution, buckets: list[Resolution]) -> Resolution:
    """Return the bucket of exactly that size, else the first with the nearest width/height.

    UserError for no image.
    """
    if min(size) < 1 or not buckets:
        raise UserError(f"no bucket for an image of {size[0]}x{size[1]} px; check the image")
    if size in buckets:
        return size
    return min(buckets, key=lambda bucket: abs(bucket[0] / bucket[1] - size[0] / size[1]))


def bucket_resolutions(max_area: int) -> list[Resolution]:
    """Return all buckets, sorted: for each side that occurs, the longest other side that `max_area` (px) allows.

    Closed under exchanging width and height. Raises UserError when not even 64x64 fits.
    """
    if max_area < STEP * STEP:
        raise UserError(f"max_area {max_area} px holds no bucket; give at least {STEP * STEP}")
    found: set[Resolution] = set()
    for side in range(STEP, max_area // STEP + 1, STEP):
        other = max_area // side // STEP * STEP
        if max(side, other) <= MAX_ASPECT * min(side, other):
            found |= {(side, other), (other, side)}
    return sorted(found)


def choose_bucket(size: Resolution, buckets: list[Resolution]) -> Resolution:
    """Return the bucket for an image of `size`: nearest aspect ratio, then largest area, then narrowest.

    Raises UserError for a side below 1 px or an empty list.
    """
    if min(size) < 1 or not buckets:
        raise UserError(f"no bucket for an image of {size[0]}x{size[1]} px; check the image")
    return min(buckets, key=lambda bucket: (_distance(size, bucket), -bucket[0] * bucket[1], bucket))


def _distance(size: Resolution, bucket: Resolution) -> float:
    # Rounded, so that equal ratios such as 2:1 and 4:2 tie in spite of floating point.
    return round(abs(math.log(size[0] * bucket[1] / (size[1] * bucket[0]))), 12)


def cover(size: Resolution, bucket: Resolution) -> tuple[Resolution, tuple[int, int, int, int]]:
    """Return how `size` fills `bucket`: the resized resolution and the centred crop (left, top, right, bottom).

    The image is scaled, keeping its shape, until it covers the bucket; the crop is in pixels of the
    resized image and has exactly the bucket's size.
    """
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    resized = tuple(max(b, round(s * scale)) for s, b in zip(size, bucket, strict=True))
    left, top = ((r - b) // 2 for r, b in zip(resized, bucket, strict=True))
    return (resized[0], resized[1]), (left, top, left + bucket[0], top + bucket[1])
