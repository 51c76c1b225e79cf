"""Picks the sample in place of a corrupt one: the next readable row of the same bucket.

In row order, around the end, without what a roll-back has left out; a pure function of the row, of these, and of the
files. So every rank has its batch, of the size that was planned, at the time that was planned, and a resumed run
repeats the choice. The replacement is then seen twice in an epoch.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass

import numpy as np

from extensions.base.errors import UserError
from extensions.data.latents import CorruptSample, Latents
from extensions.data.metadata import Sample

SCAN = 65_536  # rows of the bucket column that are looked at at once


@dataclass(frozen=True)
class Read:
    """A sample with its latents, and its row. skipped: [(key, reason), …] of the corrupt ones that it stands for."""

    sample: Sample
    latents: Latents
    skipped: list[tuple[str, str]]
    row: int


class Reader:
    """Reads rows of an index. tries: corrupt samples that may follow each other; 0 stops at the first.

    way_on: what the line of a stop ends with.
    """

    def __init__(self, store, index, tries: int, way_on: str):
        self.store, self.index, self.tries, self.way_on = store, index, tries, way_on

    def read(self, row: int, left_out: Container[int] = frozenset()) -> Read:
        """Return the row, or what takes its place. left_out: rows that do not.

        CorruptSample where nothing is to be replaced; UserError after too many in a row, and for missing files.
        """
        skipped: list[tuple[str, str]] = []
        for candidate in candidates(self.index.bucket, row):
            if candidate in left_out and candidate != row:
                continue
            sample = self.index[candidate]
            try:
                return Read(sample, self.store.read(candidate, sample), skipped, candidate)
            except CorruptSample as error:
                if not self.tries:
                    raise CorruptSample(f"{error}; {self.way_on}") from None
                skipped.append((sample.key, str(error)))
            if len(skipped) > self.tries:
                break
        width, height = sample.width, sample.height
        raise UserError(
            f"{len(skipped)} corrupt samples one after the other in bucket {width}x{height}, none readable: "
            f"{skipped[-1][1]}"
        )


def candidates(bucket: np.ndarray, row: int) -> Iterator[int]:
    """Yield the row, then the others of its bucket in row order, around the end."""
    yield row
    for start, stop in ((row + 1, len(bucket)), (0, row)):
        for at in range(start, stop, SCAN):
            part = bucket[at : min(at + SCAN, stop)]
            yield from (at + np.flatnonzero(part == bucket[row])).tolist()
