"""Loads for a rank the batches of `order.py`, from any optimizer step on.

The trainers' own loaders shuffle by a random stream that has to be played back up to a position, and differ with
the number of processes. This one computes where it stands. It has a random generator of its own, because
starting an iterator draws from the global one, which makes the noise.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from extensions.base.errors import UserError, no_room
from extensions.data import like_texts
from extensions.data.dealing import AS_DRAWN, DEALT, dealt
from extensions.data.mixed_order import MixedOrder
from extensions.data.order import EpochOrder, place_of, steps_per_epoch
from extensions.model.flops import unet_mflop


@contextmanager
def shared_memory() -> Iterator[None]:
    """Say in one line where the processes of a loader find no room for what they share: numbers, locks, queues."""
    try:
        yield
    except OSError as error:
        if no_room(error) is None:
            raise
        raise UserError(
            f"/dev/shm has no room for what a data loader shares with its workers ({error.strerror}); make room there"
        ) from None


class Place(NamedTuple):
    """One batch to be read: its epoch (from 1, part of the seed of every text draw; of a mixture, the pass of its
    source) and rows.
    """

    epoch: int
    rows: tuple[int, ...]


class Places(Sampler):
    """The batches of one process in one epoch. Set `begin` before each pass.

    dataset: has `bucket`, `batch_size`, `seed` and `trained`, and `metadata.buckets` where the order is DEALT; `mix`
    where it is a mixture.
    skipped: see EpochOrder. ahead: optimizer steps that count as done and have seen no data (--initial_step without
    --skip_until_initial_step). data_order: AS_DRAWN or DEALT; which batch of an update is whose. batch_texts:
    `like_texts`' AS_DRAWN or LIKE; LIKE asks the dataset for `length_of_text`.
    """

    def __init__(
        self,
        dataset,
        process: int,
        processes: int,
        accumulation: int,
        skipped: dict[int, int],
        ahead: int = 0,
        data_order: str = AS_DRAWN,
        batch_texts: str = like_texts.AS_DRAWN,
    ):
        self.dataset, self.skipped, self.ahead = dataset, skipped, ahead
        self.process, self.processes, self.accumulation = process, processes, accumulation
        self.steps = steps_per_epoch(len(dataset), processes, accumulation)  # optimizer steps of an epoch
        self.data_order, self.batch_texts, self.epoch, self.first = data_order, batch_texts, 0, 0
        self.order: EpochOrder | MixedOrder | None = None
        self.costs: np.ndarray | None = None  # of an image, by its bucket; None where nothing is dealt
        if data_order == DEALT:
            self.costs = np.array([unet_mflop(*size) for size in dataset.metadata.buckets], np.int64)
        # Two: the loader reads ahead of the step whose images are counted.
        self.deal_of = lru_cache(2)(self._deal_of)

    def begin(self, epoch: int, first: int) -> None:
        """Stand before step `first` of `epoch`, both counted from 0. The order is made once an epoch."""
        if self.order is None or epoch != self.epoch:
            self.order = None  # the old one is freed before the new one is made
            dataset, update = self.dataset, self.processes * self.accumulation
            if mix := getattr(dataset, "mix", None):
                self.order = MixedOrder(mix, dataset.seed, epoch, self.skipped, update, self.ahead)
            else:
                words = (dataset.bucket, dataset.batch_size, dataset.seed, epoch, self.skipped, update)
                like = self.batch_texts == like_texts.LIKE
                length = partial(dataset.length_of_text, epoch=epoch + 1) if like else None
                self.order = EpochOrder(*words, dataset.trained, length)
            self.deal_of.cache_clear()
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return (self.steps - self.first) * self.accumulation

    def __iter__(self) -> Iterator[Place]:
        for step in range(self.first, self.steps):
            for micro_step in range(self.accumulation):
                yield self.at(step, micro_step)

    def at(self, step: int, micro_step: int, process: int | None = None) -> Place:
        """Return what a process (this one, unless named) sees at a step of the epoch."""
        process = self.process if process is None else process
        place = place_of(step, micro_step, process, self.processes, self.accumulation)
        assert self.order is not None  # made by `begin`
        if self.costs is not None:
            place = self.deal_of(step)[place % self.order.update]
        rows = self.order.batch(place, self.ahead + self.epoch * self.steps + step)
        return Place(self.order.epoch_of(place) + 1, tuple(rows.tolist()))

    def drawn(self, optimizer_steps: int, micro_step: int, process: int) -> int:
        """Return which of the batches of its update a process sees, in the order drawn, after so many updates."""
        place = micro_step * self.processes + process
        if self.costs is None:
            return place
        step = optimizer_steps - self.ahead - self.epoch * self.steps
        return self.deal_of(step)[place] - step * self.processes * self.accumulation

    def _deal_of(self, step: int) -> list[int]:
        """Return the drawn place of each batch of a step of the epoch, at its place as dealt."""
        assert self.order is not None and self.costs is not None
        first = step * self.order.update
        return [first + number for number in dealt(self.order.costs(first, self.costs), self.processes)]

    def images(self, optimizer_steps: int, micro_steps: int) -> int:
        """Count what all processes see in the micro-step after so many; a bucket's last batch has fewer."""
        if self.dataset.batch_size == 1:
            return self.processes
        return sum(map(len, self._of_all(optimizer_steps, micro_steps)))

    def shapes(self, optimizer_steps: int, micro_steps: int) -> list[list[int]]:
        """Return the shape (b, 4, h/8, w/8) of each process's latents in the micro-step after so many."""
        found, sides = self._of_all(optimizer_steps, micro_steps), self.dataset.metadata.buckets
        sizes = [sides[self.dataset.bucket[rows[0]]] for rows in found]
        return [[len(rows), 4, height // 8, width // 8] for rows, (width, height) in zip(found, sizes, strict=True)]

    def _of_all(self, optimizer_steps: int, micro_steps: int) -> list[tuple[int, ...]]:
        """Return the rows of each process in the micro-step after so many."""
        step = optimizer_steps - self.ahead - self.epoch * self.steps
        micro_step = micro_steps % self.accumulation
        return [self.at(step, micro_step, process).rows for process in range(self.processes)]

    def global_batch(self, step: int) -> list[tuple[int, int, Place]]:
        """Return [(micro-step, process, what it sees), …] at a step of the epoch, in the order of the data."""
        pairs = product(range(self.accumulation), range(self.processes))
        return [(micro_step, process, self.at(step, micro_step, process)) for micro_step, process in pairs]


class PlacesLoader(DataLoader):
    """Reads `places`; one for all epochs, so that persistent workers persist.

    The data set's numbering for other loaders is dropped: this one needs none of it. Its own choice of rows, in place
    of corrupt ones, leaves out what the run must not see.
    """

    def __init__(self, dataset, places: Places, workers: int, persistent: bool):
        dataset.order_is_known(frozenset(places.skipped))
        workers = min(workers, os.cpu_count() or 1)
        with shared_memory():
            self.wanted = multiprocessing.Value("b", 1)
        super().__init__(
            dataset,
            batch_size=1,
            sampler=places,
            collate_fn=only,
            num_workers=workers,
            persistent_workers=persistent and workers > 0,
            generator=torch.Generator(),
            worker_init_fn=partial(outlive_signals, self.wanted),
        )

    def __iter__(self):
        with shared_memory():  # workers that do not persist begin anew each epoch
            return super().__iter__()

    def close(self) -> None:
        """Let the workers end."""
        self.wanted.value = 0
        self._iterator = None


def outlive_signals(wanted, _worker: int) -> None:
    """Let a worker outlive the signal that a group of processes receives: the last batches are still wanted.

    Python itself ends what is left of them by a signal; then they are not wanted any more, and end as if they were
    done: torch makes a traceback of any other exit code, after the line that says why the run has ended.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None if wanted.value else os._exit(0))


def only(items: list):
    """Return the one item of the loader's batch."""
    return items[0]
