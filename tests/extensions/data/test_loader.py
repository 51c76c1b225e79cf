"""The loader over places: what each process reads, from any step, with workers and without."""

import errno
import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data.loader import Place, Places, PlacesLoader, shared_memory
from extensions.data.order import batch_count


class Rows(torch.utils.data.Dataset):
    """A data set whose items are the places that it is asked for."""

    def __init__(self, buckets, batch_size=1, seed=1):
        self.bucket, self.batch_size, self.seed, self.grouped = np.array(buckets), batch_size, seed, "numbering"
        self.trained = None

    def __len__(self):
        return batch_count(self.bucket, self.batch_size)

    def __getitem__(self, place):
        return place

    def order_is_known(self, left_out):
        self.grouped = None


def seen(places, epochs, start=0):
    """[(epoch, rows), …] from optimizer step `start` of the run on."""
    found = []
    for epoch in range(start // places.steps, epochs):
        places.begin(epoch, max(0, start - epoch * places.steps))
        found += list(places)
        assert len(places) == (places.steps - places.first) * places.accumulation
    return found


CASES = dict(
    buckets=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    batch_size=st.integers(1, 3),
    processes=st.integers(1, 4),
    accumulation=st.integers(1, 4),
    epochs=st.integers(1, 3),
    data=st.data(),
)


@given(**CASES)
@settings(max_examples=150)
def test_from_any_step_on_it_is_the_rest_of_the_unbroken_order(
    buckets, batch_size, processes, accumulation, epochs, data
):
    dataset = Rows(buckets, batch_size)
    process = data.draw(st.integers(0, processes - 1))
    made = [Places(dataset, process, processes, accumulation, {}) for _ in range(3)]
    whole = seen(made[0], epochs)
    stop = data.draw(st.integers(0, made[0].steps * epochs - 1))
    assert whole[: stop * accumulation] + seen(made[1], epochs, stop) == whole
    rows = [row for place in whole for row in place.rows]
    assert set(rows) <= set(range(len(buckets)))


@given(**{name: CASES[name] for name in ("buckets", "batch_size", "processes", "accumulation")})
def test_all_processes_together_see_every_row(buckets, batch_size, processes, accumulation):
    dataset = Rows(buckets, batch_size)
    everything = [seen(Places(dataset, p, processes, accumulation, {}), 1) for p in range(processes)]
    assert len({len(one) for one in everything}) == 1  # no process waits for another
    in_turn = [place.rows for places in zip(*everything, strict=True) for place in places]
    first = in_turn[: len(dataset)]
    assert sorted(row for rows in first for row in rows) == list(range(len(buckets)))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing_and_no_random_number_is_drawn(workers):
    dataset = Rows([0, 1] * 6)
    places = Places(dataset, 1, 2, 2, {})
    made = PlacesLoader(dataset, places, workers, persistent=True)
    assert dataset.grouped is None
    before = torch.get_rng_state()
    found = []
    for epoch, first in ((0, 1), (1, 0)):
        places.begin(epoch, first)
        found += list(made)
    made.close()
    assert torch.equal(torch.get_rng_state(), before)
    assert found == seen(Places(dataset, 1, 2, 2, {}), 2, 1)
    assert all(isinstance(place, Place) for place in found) and {place.epoch for place in found} == {1, 2}


def test_images_of_a_micro_step_are_those_of_all_processes():
    """Buckets of 5 and 4 images in batches of 3: two batches are smaller."""
    places = Places(Rows([0] * 5 + [1] * 4, batch_size=3), 0, 2, 1, {}, ahead=7)
    counted = []
    for epoch in range(2):
        places.begin(epoch, 0)
        counted += [places.images(7 + 2 * epoch + step, 2 * epoch + step) for step in range(2)]
    assert sum(counted[:2]) == sum(counted[2:]) == 9 and all(2 <= count <= 6 for count in counted)
    alone = Places(Rows([0] * 8), 3, 4, 2, {})
    assert alone.images(0, 0) == 4


def test_any_process_can_be_asked_for_another_one_s_rows():
    dataset = Rows([0] * 16)
    places = [Places(dataset, process, 4, 2, {}) for process in range(4)]
    for one in places:
        one.begin(0, 0)
    assert [places[0].at(1, 1, process) for process in range(4)] == [one.at(1, 1) for one in places]
    whole = places[2].global_batch(1)
    assert [(micro_step, process) for micro_step, process, _ in whole] == [(m, p) for m in (0, 1) for p in range(4)]
    assert [place for _, _, place in whole] == [places[p].at(1, m) for m in (0, 1) for p in range(4)]


def test_a_signal_to_the_whole_group_does_not_end_workers_whose_batches_are_wanted():
    places = Places(Rows([0] * 12), 0, 1, 1, {})
    made = PlacesLoader(places.dataset, places, 2, persistent=False)
    places.begin(0, 0)
    batches = iter(made)
    found = [next(batches), next(batches)]  # both workers are up
    for worker in batches._workers:
        os.kill(worker.pid, signal.SIGTERM)
    found += list(batches)
    assert found == list(places)
    held = iter(made)  # by the traceback of the error that has ended the training, for one
    workers = held._workers  # as many, waiting for work
    assert next(held) == found[0]
    made.close()
    for worker in workers:
        worker.terminate()
        worker.join(timeout=20)  # torch looks at the exit code meanwhile
        assert worker.exitcode == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_shared_memory_is_one_line(number):
    said = r"^/dev/shm has no room for what a data loader shares .*; make room there$"
    with pytest.raises(UserError, match=said), shared_memory():
        raise OSError(number, os.strerror(number))
    with pytest.raises(OSError, match="many"), shared_memory():
        raise OSError(errno.EMFILE, "Too many open files")


def test_workers_that_cannot_be_given_a_queue(monkeypatch):
    places = Places(Rows([0] * 5), 0, 1, 1, {})
    places.begin(0, 0)
    made = PlacesLoader(places.dataset, places, 1, False)

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch.utils.data.DataLoader, "__iter__", full)
    with pytest.raises(UserError, match="^/dev/shm has no room"):
        iter(made)
