"""Orders the batches of a mixture: a pure function of (seed, epoch, optimizer step), as `order.py` of one set.

Each source is gone through again and again, pass after pass, each in an order of its own (`order.EpochOrder`): no
image is seen a second time before all of its source were seen once, whatever its share. An epoch of the mixture has
a fixed number of batches of each source. Its optimizer steps are cut where a source begins or ends to take part; the
batches of a piece are shared out among the sources that do, by largest remainders, and which is whose is drawn: the
numbers of the piece's batches are shuffled, the first source's share of them comes first. How many each has given
before follows from the counts of the pieces before. So any optimizer step is known as fast as the first.

A batch is of one source. The last update of an epoch is filled up with the first batches of its last piece. In memory
are 5 bytes a batch and 4 an image of the epoch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from extensions.base.errors import UserError
from extensions.data.order import EpochOrder, batch_count, shuffled
from extensions.data.sources import Source

OWNERS = 4  # the stream of the hashes; order.py and rolled_back.py have others


@dataclass(frozen=True)
class Piece:
    """A part of an epoch in which the same sources take part. first: its first batch; counts, before: by source, its
    batches, and how many it has given before the piece.
    """

    first: int
    counts: tuple[int, ...]
    before: tuple[int, ...]

    @property
    def length(self) -> int:
        return sum(self.counts)


class Mix:
    """What is the same in each epoch: rows, batches and shares of the sources.

    bucket: of all rows, in the order of the sources. offsets: the first row of each source, and the end. trained: the
    rows that are trained on, ascending; None: all.
    """

    def __init__(
        self, sources: Sequence[Source], bucket: np.ndarray, offsets: Sequence[int] | np.ndarray, batch_size: int,
        trained: np.ndarray | None = None,
    ):  # fmt: skip
        self.sources, self.batch_size, self.offsets = tuple(sources), batch_size, [int(each) for each in offsets]
        spans = list(zip(self.offsets, self.offsets[1:], strict=False))
        self.buckets = [bucket[start:stop] for start, stop in spans]
        self.trained: list[np.ndarray | None] = [None] * len(spans)
        if trained is not None:
            cut = [trained[(start <= trained) & (trained < stop)] - start for start, stop in spans]
            self.trained = [each.astype(np.int32) for each in cut]
        kept = [
            rows if chosen is None else rows[chosen] for rows, chosen in zip(self.buckets, self.trained, strict=True)
        ]
        self.passes = [batch_count(each, batch_size) if len(each) else 0 for each in kept]  # batches of a pass
        if not all(self.passes):
            name = self.sources[self.passes.index(0)].name
            raise UserError(f"source {name} of the mixture has no image to train on; take it out")
        self.counts = counts(self.sources, self.passes)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return sum(self.counts)

    def pieces(self, begins: int, update: int, before: Sequence[int]) -> list[Piece]:
        """Return the pieces of the epoch that begins behind so many optimizer steps. before: by source."""
        total, given, found = len(self), list(before), []
        steps = -(-total // update)
        cuts = {0} | {edge - begins for edge in self.edges() if 0 < edge - begins < steps}
        starts = sorted(cuts)
        for start, stop in zip(starts, [*starts[1:], steps], strict=True):
            length = min(stop * update, total) - start * update
            active = [each.takes_part(begins + start) for each in self.sources]
            shares = [count if there else 0 for count, there in zip(self.counts, active, strict=True)]
            own = shared_out(length, shares)
            found.append(Piece(start * update, tuple(own), tuple(given)))
            given = [had + more for had, more in zip(given, own, strict=True)]
        return found

    def edges(self) -> set[int]:
        """Return the optimizer steps, from 0, with which a source begins, or behind the last of which it ends."""
        return {each.first_step - 1 for each in self.sources} | {each.last_step or 0 for each in self.sources}

    def given(self, epoch: int, update: int, ahead: int) -> list[int]:
        """Return how many batches each source has given before an epoch. ahead: optimizer steps before the first."""
        if self.edges() == {0}:
            return [epoch * count for count in self.counts]
        given, steps = [0] * len(self.sources), -(-len(self) // update)
        for earlier in range(epoch):
            for piece in self.pieces(ahead + earlier * steps, update, given):
                given = [had + more for had, more in zip(piece.before, piece.counts, strict=True)]
        return given


def counts(sources: Sequence[Source], passes: Sequence[int]) -> list[int]:
    """Return the batches of each source in an epoch. passes: those that it has."""
    if sources[0].weight is None:
        return [max(1, round((each.repeats or 0) * own)) for each, own in zip(sources, passes, strict=True)]
    return [max(1, count) for count in shared_out(sum(passes), [each.weight or 0 for each in sources])]


def shared_out(length: int, shares: Sequence[float]) -> list[int]:
    """Share whole things out in proportion, by largest remainders; of equal ones the first."""
    whole = sum(shares)
    exact = [length * share / whole for share in shares]
    found = [int(each) for each in exact]
    left = sorted(range(len(shares)), key=lambda number: (found[number] - exact[number], number))
    for number in left[: length - sum(found)]:
        found[number] += 1
    return found


def owned(piece: Piece, seed: int, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (the source of each batch of a piece, uint8; how many of its source come before it there, int32)."""
    drawn = shuffled(piece.length, seed, epoch, OWNERS, number)
    owner = np.searchsorted(np.cumsum(piece.counts), drawn, "right").astype(np.uint8)
    rank = np.empty(piece.length, np.int32)
    for source, count in enumerate(piece.counts):
        rank[owner == source] = np.arange(count, dtype=np.int32)
    return owner, rank


class MixedOrder:
    """The batches of one epoch of a mixture, as `order.EpochOrder` has those of one set.

    skipped: {row: first optimizer step that must not see it}. update: batches of an optimizer step. ahead: optimizer
    steps that count as done and have seen no data.
    """

    def __init__(
        self, mix: Mix, seed: int, epoch: int, skipped: Mapping[int, int] | None = None, update: int = 1,
        ahead: int = 0,
    ):  # fmt: skip
        self.mix, self.seed, self.update, self.skipped = mix, seed, update, dict(skipped or {})
        begins = ahead + epoch * -(-len(mix) // update)
        self.pieces = mix.pieces(begins, update, mix.given(epoch, update, ahead))
        self.firsts = [piece.first for piece in self.pieces]
        self.owners = [owned(piece, seed, epoch, number) for number, piece in enumerate(self.pieces)]
        self.orders: dict[tuple[int, int], EpochOrder] = {}

    def __len__(self) -> int:
        return len(self.mix)

    def batch(self, place: int, step: int = 0) -> np.ndarray:
        """Return rows of the batch at `place`, counted on past the end; step: the optimizer step that asks."""
        source, number, at = self.found(place)
        return self.order_of(source, number).batch(at, step) + np.int32(self.mix.offsets[source])

    def epoch_of(self, place: int) -> int:
        """Return the pass of the batch's source, from 0: a text of an image that is seen again is drawn anew."""
        return self.found(place)[1]

    def found(self, place: int) -> tuple[int, int, int]:
        """Return (number of the source, pass, place in it) of a batch."""
        if place >= len(self):
            last = self.pieces[-1]
            place = last.first + (place - len(self)) % last.length
        number = bisect_right(self.firsts, place) - 1
        piece = self.pieces[number]
        owner, rank = (int(each[place - piece.first]) for each in self.owners[number])
        return owner, *divmod(piece.before[owner] + rank, self.mix.passes[owner])

    def order_of(self, source: int, number: int) -> EpochOrder:
        """Return the order of a pass of a source; those of an epoch are kept, 4 bytes a sample together."""
        if (source, number) not in self.orders:
            mix, start, stop = self.mix, *self.mix.offsets[source : source + 2]
            skipped = {row - start: step for row, step in self.skipped.items() if start <= row < stop}
            name = xxhash.xxh3_64_intdigest(f"{self.seed}:{mix.sources[source].name}".encode()) >> 1
            self.orders[source, number] = EpochOrder(
                mix.buckets[source], mix.batch_size, name, number, skipped, self.update, mix.trained[source]
            )
        return self.orders[source, number]

    def costs(self, first: int, of_image: np.ndarray) -> list[int]:
        """Return the cost of each batch of the update that begins at place `first`. of_image: by bucket, int64."""
        made = []
        for place in range(first, first + self.update):
            source, number, at = self.found(place)
            rows = self.order_of(source, number).planned(at)
            made.append(int(of_image[self.mix.buckets[source][rows[0]]]) * len(rows))
        return made
