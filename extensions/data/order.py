"""Orders the samples of each optimizer step: a pure function of (seed, epoch, optimizer step).

One epoch's order, for n rows in buckets of one size each:

1. the rows are shuffled;
2. they are grouped by bucket, in that order, and cut into batches of `batch_size`; the last batch of a bucket may
   be smaller, no row is left out;
3. the batches are shuffled.

Optimizer step k of the epoch takes the next `processes x accumulation` batches, the global batch: micro-step i of
process r takes batch `(k x accumulation + i) x processes + r`. So the same samples meet in an update whatever the
number of processes, as long as the global batch is the same. The last global batch of an epoch is filled up with
the first batches of that epoch, so that every update averages over equally many: an epoch has
ceil(batches / (processes x accumulation)) optimizer steps, which is upstream's count.

With --batch_texts=like step 2 sorts a bucket's rows by the length of their texts before it cuts them, a window of
batches at a time (`like_texts.py`).

With --data_order=dealt the batches of each update go to processes and micro-steps by their cost (`dealing.py`), the
same batches in the same update.

A row that must not be seen any more leaves its place to a stand-in (`stand_ins.py`); all other places stay as they
were.

Shuffling sorts by a hash (`hashing.py`) of seed, epoch and number. It needs no random generator
whose stream another version of a library might change during a run of weeks, and sorts in place: at 12.4 million
rows 170 MB at the peak and 50 MB kept by each process, 274 and 87 MB at more than one image a batch.
"""

from collections.abc import Callable, Mapping

import numpy as np

from extensions.data.hashing import hashed, mixed
from extensions.data.like_texts import LikeTexts
from extensions.data.rolled_back import StandIns

BLOCK = 1 << 20  # numbers hashed at a time: the temporaries stay small
ROWS, BATCHES = 1, 2  # what is shuffled; each has a stream of its own


def shuffled(count: int, *stream: int) -> np.ndarray:
    """Return the numbers below `count` in an order given by the integers of `stream`: int32 (count,).

    The upper bits of each key are the hash, the lower the number itself: keys are distinct, so that every
    sorting algorithm gives the same order.
    """
    bits = np.uint64(max(count - 1, 1).bit_length())
    start = hashed(*stream)
    keys = np.empty(count, np.uint64)
    for first in range(0, count, BLOCK):
        numbers = np.arange(first, min(first + BLOCK, count), dtype=np.uint64)
        keys[first : first + BLOCK] = (mixed(numbers + start) >> bits << bits) | numbers
    keys.sort()
    keys &= (np.uint64(1) << bits) - np.uint64(1)
    return keys.astype(np.int32)


def batch_count(bucket: np.ndarray, batch_size: int) -> int:
    """Batches of an epoch, the same in each. bucket: each row's bucket number, integers (rows,)."""
    if batch_size == 1:
        return len(bucket)
    return int((-(-np.bincount(bucket) // batch_size)).sum())


class EpochOrder:
    """The batches of one epoch; `len()` of them, each an int32 array of rows of one bucket.

    skipped: {row: first optimizer step that must not see it}, of the whole run. update: batches of an optimizer step
    (processes x accumulation), within which stand-ins for skipped rows differ. trained: the rows that are trained on,
    int32; None: all of them. length: of a row's text in this epoch, where batches are made of like ones.
    """

    def __init__(
        self,
        bucket: np.ndarray,
        batch_size: int,
        seed: int,
        epoch: int,
        skipped: Mapping[int, int] | None = None,
        update: int = 1,
        trained: np.ndarray | None = None,
        length: Callable[[int], int] | None = None,
    ):
        self.like: LikeTexts | None = None
        self.bucket, self.skipped, self.update, self.epoch = bucket, dict(skipped or {}), update, epoch
        rows = shuffled(len(bucket if trained is None else trained), seed, epoch, ROWS)
        if trained is not None:
            rows = trained[rows]
        if batch_size == 1:
            self.rows, self.cut, ends = rows, None, None
        else:
            sizes = np.bincount(bucket[rows])
            self.rows = rows[np.argsort(bucket[rows], kind="stable")]
            starts, stops = cuts(sizes, batch_size)
            self.cut = (starts, stops, shuffled(len(starts), seed, epoch, BATCHES))
            ends = np.cumsum(sizes)
            if length is not None:
                self.like = LikeTexts(self.rows, ends, batch_size, length)
        self.stand_ins = StandIns(self.rows, bucket, ends, (seed, epoch), self.skipped)

    def __len__(self) -> int:
        return len(self.rows if self.cut is None else self.cut[0])

    def batch(self, place: int, step: int = 0) -> np.ndarray:
        """Return rows of the batch at `place`, counted on past the end; step: the optimizer step that asks.

        IndexError where every row of the epoch is skipped.
        """
        rows = self.planned(place)
        if not self.skipped or all(self.stand_ins.allowed(row, step) for row in rows.tolist()):
            return rows
        first = place - place % self.update
        planned = [self.planned(first + number) for number in range(self.update)]
        return self.stand_ins.filled(planned, step)[place - first]

    def epoch_of(self, place: int) -> int:
        """Return the epoch whose draws a batch's texts have: its own, whatever the place."""
        return self.epoch

    def costs(self, first: int, of_image: np.ndarray) -> list[int]:
        """Return the cost of each batch of the update that begins at place `first`.

        of_image: by bucket, int64. Stand-ins for skipped rows do not count, so that they move no other batch.
        """
        places = np.arange(first, first + self.update) % len(self)
        if self.cut is None:
            return of_image[self.bucket[self.rows[places]]].tolist()
        starts, stops, numbers = self.cut
        batches = numbers[places]
        a_row = self.rows[starts[batches]]
        return (of_image[self.bucket[a_row]] * (stops[batches] - starts[batches])).tolist()

    def planned(self, place: int) -> np.ndarray:
        """Return rows of the batch at `place`, whatever is skipped."""
        place %= len(self)
        if self.cut is None:
            return self.rows[place : place + 1]
        starts, stops, places = self.cut
        start, stop = int(starts[places[place]]), int(stops[places[place]])
        return self.rows[start:stop] if self.like is None else self.like.between(start, stop)


def cuts(sizes: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (start, stop) of every batch, int32, in rows grouped by bucket. sizes: rows of each bucket."""
    ends = np.cumsum(sizes)
    counts = -(-sizes // batch_size)
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    within = np.arange(counts.sum()) - firsts
    starts = np.repeat(ends - sizes, counts) + within * batch_size
    return starts.astype(np.int32), np.minimum(starts + batch_size, np.repeat(ends, counts)).astype(np.int32)


def steps_per_epoch(batches: int, processes: int, accumulation: int) -> int:
    """Optimizer steps of an epoch of so many batches."""
    return -(-batches // (processes * accumulation))


def place_of(step: int, micro_step: int, process: int, processes: int, accumulation: int) -> int:
    """Find the batch's place in its epoch: `step` of the epoch, `micro_step` of that step, both from 0."""
    return (step * accumulation + micro_step) * processes + process
