"""Replaces the rows that must not be seen any more: a roll-back leaves out a whole global batch.

Each skipped row of an optimizer step leaves its place to a row of its own, of the same bucket, so that the batch
keeps its size and its shape and the update averages over as many different images as planned. The search begins at a
place of the epoch that a hash of seed, epoch and skipped row gives, and goes on from there in the epoch's order,
around the end, to the first row that is neither skipped nor in this update already. A stand-in is seen twice in the
epoch, at steps that are far apart as a rule.

Where its bucket has no such row left, a place stays empty and its batch is smaller. A batch without any row takes
rows of another bucket, and only where the epoch has no other either, rows that the update has already.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from extensions.data.hashing import hashed

STREAM = 3  # of the hashes; order.py has others
SCAN = 4_096  # rows of the epoch that are looked at at once


class StandIns:
    """The replacements of one epoch; a function of their arguments alone, so every process finds the same.

    rows: int32 (n,), the epoch's order. bucket: each row's bucket number. ends: where each bucket ends in `rows`;
    None where they are not grouped. words: seed, epoch. skipped: {row: first optimizer step that must not see it}.
    """

    def __init__(
        self,
        rows: np.ndarray,
        bucket: np.ndarray,
        ends: np.ndarray | None,
        words: tuple[int, int],
        skipped: Mapping[int, int],
    ):
        self.rows, self.bucket, self.ends, self.words, self.skipped = rows, bucket, ends, words, skipped

    def filled(self, planned: list[np.ndarray], step: int) -> list[np.ndarray]:
        """Return the batches of an update, int32, with stand-ins.

        IndexError where every row of the epoch is skipped.
        """
        seen = {row for rows in planned for row in rows.tolist() if self.allowed(row, step)}

        def new(row: int) -> bool:
            return row not in seen and self.allowed(row, step)

        def at(row: int) -> int | None:
            return row if row in seen else self.claimed(row, new, seen)

        batches = []
        for rows in planned:
            found = [at(row) for row in rows.tolist()]
            kept = [row for row in found if row is not None]
            batches.append(np.array(kept or self.elsewhere(rows, new, seen, step), np.int32))
        return batches

    def allowed(self, row: int, step: int) -> bool:
        """Tell whether optimizer step `step` may see a row."""
        return self.skipped.get(row, step + 1) > step

    def claimed(self, row: int, fits: Callable[[int], bool], seen: set[int], number: int | None = None) -> int | None:
        """Return the stand-in for a row, from its own bucket or the one given; it is in `seen` then.

        None: there is none.
        """
        number = int(self.bucket[row]) if number is None else number
        found = next((other for other in self.from_a_place(row, number) if fits(other)), None)
        if found is not None:
            seen.add(found)
        return found

    def elsewhere(self, rows: np.ndarray, new: Callable[[int], bool], seen: set[int], step: int) -> list[int]:
        """Find rows for a batch whose bucket has no new one: as many of another bucket, else what may be seen."""
        first = next((other for other in self.from_a_place(int(rows[0])) if new(other)), None)
        if first is None:
            first = next((other for other in self.from_a_place(int(rows[0])) if self.allowed(other, step)), None)
        if first is None:
            raise IndexError(f"every row of the epoch is skipped at optimizer step {step}")
        seen.add(first)
        others = (self.claimed(int(row), new, seen, int(self.bucket[first])) for row in rows[1:])
        return [first, *(row for row in others if row is not None)]

    def from_a_place(self, row: int, number: int | None = None) -> Iterator[int]:
        """Yield rows of a bucket, or of the epoch, in its order from the row's hashed place on, around the end."""
        low, high = 0, len(self.rows)
        if number is not None and self.ends is not None:
            low, high = int(self.ends[number - 1]) if number else 0, int(self.ends[number])
        begin = low + int(hashed(*self.words, STREAM, row)) % (high - low)
        for start, stop in ((begin, high), (low, begin)):
            for at in range(start, stop, SCAN):
                part = self.rows[at : min(at + SCAN, stop)]
                yield from (part if number is None else part[self.bucket[part] == number]).tolist()
