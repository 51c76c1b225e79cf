"""Picks the images that are held out of the training, to be asked about later.

An image is held out where the hash of its id is below a threshold: a share of all hashes, or the greatest of the
`count` smallest in the set. The hash knows neither the set nor its order, so the buckets lose about the same share,
a run that is resumed keeps its choice, and a set that grows moves no image that was trained on among the held out:
with a share the old ones stay and new ones join, with a count the threshold can only fall.
"""

from collections.abc import Collection, Iterable

import numpy as np
import xxhash

from extensions.base.errors import UserError
from extensions.data.index.reader import Index

HASHES = 1 << 64
NEXT = 4096  # rows that are known beside those held out, to be compared with them


def hash_of(key: str) -> int:
    """Return xxh3-64 of an id, the same for ever."""
    return xxhash.xxh3_64_intdigest(f"held out: {key}".encode())


def hashes(index: Index) -> np.ndarray:
    """Return the hash of every row's id, uint64 (n,): some seconds and 100 MB at 12.4 million images."""
    found = np.empty(len(index), np.uint64)
    first = 0
    for column in index.keys():
        found[first : first + len(column)] = [hash_of(key) for key in column.to_pylist()]
        first += len(column)
    return found


def choose(index: Index, share: float | None, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return (the rows that are held out, those that would be next), int32, least hash first; of the next, NEXT.

    share: of all hashes; count: of images; one of the two is None.
    """
    found = hashes(index)
    order = np.argsort(found, kind="stable").astype(np.int32)
    if count is None:
        limit = min(int((share or 0) * HASHES), HASHES - 1)
        count = int((found < np.uint64(limit)).sum())
    return order[:count], order[count : count + NEXT]


def trained(rows: int, out: np.ndarray) -> np.ndarray:
    """Return the rows that are left to train on, int32, ascending."""
    kept = np.ones(rows, bool)
    kept[out] = False
    return np.flatnonzero(kept).astype(np.int32)


def digest(out: np.ndarray) -> str:
    """Return what tells one choice of rows from another."""
    return xxhash.xxh3_128_hexdigest(np.sort(out).astype("<i4").tobytes())


def in_both(one: Index, other: Index) -> list[str]:
    """Return the ids that two sets share; some seconds at 12.4 million images."""
    small, large = sorted((one, other), key=len)
    return list(large.rows_of([key for column in small.keys() for key in column.to_pylist()]))


class LeftOut:
    """Rows that take no corrupt one's place: those of a roll-back, and those that are held out."""

    def __init__(self, skipped: Collection[int] = (), out: Iterable[int] = ()):
        self.skipped, self.out = frozenset(skipped), np.sort(np.fromiter(out, np.int32))

    def __contains__(self, row) -> bool:
        if row in self.skipped:
            return True
        place = int(np.searchsorted(self.out, np.int64(row)))
        return place < len(self.out) and bool(self.out[place] == row)


def require_some(out: np.ndarray, rows: int, asked: str) -> None:
    """Raise UserError where nothing, or more than half, would be held out. asked: the flag, as it was given."""
    if len(out) == 0:
        raise UserError(f"{asked} holds out none of {rows:,} images; give more, or a count")
    if 2 * len(out) > rows:
        raise UserError(f"{asked} holds out {len(out):,} of {rows:,} images, more than half; give less")
