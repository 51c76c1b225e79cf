"""--data_order=dealt: the samples of each update are those of --data_order=as_drawn, on other ranks."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.data.dealing import AS_DRAWN, DEALT
from extensions.data.loader import Places, PlacesLoader
from extensions.data.order import EpochOrder, batch_count
from extensions.model.flops import unet_mflop
from tests.extensions.data.test_loader import Rows, seen

SIZES = [(256, 1024), (512, 1024), (704, 1024), (1024, 1024)]


class Sized(Rows):
    """The same with the buckets' sizes. trained: the rows that are not held out; None: all."""

    metadata = SimpleNamespace(buckets=SIZES)

    def __init__(self, buckets, batch_size=1, trained=None):
        super().__init__(buckets, batch_size)
        self.trained = trained

    def __len__(self):
        return batch_count(self.bucket if self.trained is None else self.bucket[self.trained], self.batch_size)


def update(places, step):
    """{(micro-step, process): rows} of a step of the epoch."""
    return {(micro_step, process): place.rows for micro_step, process, place in places.global_batch(step)}


def most(found, buckets, processes):
    """What the slowest rank of an update computes, in 10^6 operations."""
    loads = [0] * processes
    for (_, process), rows in found.items():
        loads[process] += unet_mflop(*SIZES[buckets[rows[0]]]) * len(rows)
    return max(loads)


def both(dataset, processes, accumulation, skipped=None, process=0):
    """(as drawn, dealt), before the first step of the second epoch."""
    shape = dataset, process, processes, accumulation, skipped or {}, 0
    made = [Places(*shape, data_order) for data_order in (AS_DRAWN, DEALT)]
    for places in made:
        places.begin(1, 0)
    return made


CASES = dict(
    buckets=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    batch_size=st.integers(1, 3),
    processes=st.integers(1, 4),
    accumulation=st.integers(1, 5),
)


@given(**CASES, data=st.data())
@settings(max_examples=150)
def test_an_update_has_the_batches_that_were_drawn_for_it(buckets, batch_size, processes, accumulation, data):
    """Buckets' last, smaller batches and the epoch's last, filled update among them; held-out rows in none."""
    out = data.draw(st.sets(st.integers(0, len(buckets) - 1), max_size=len(buckets) - 1))
    trained = np.array([row for row in range(len(buckets)) if row not in out], np.int32) if out else None
    drawn, dealt = both(Sized(buckets, batch_size, trained), processes, accumulation)
    for step in range(drawn.steps):
        before, after = update(drawn, step), update(dealt, step)
        assert before.keys() == after.keys() and sorted(before.values()) == sorted(after.values())
        assert not out & {row for rows in after.values() for row in rows}
        assert most(after, buckets, processes) <= most(before, buckets, processes)
        if processes == 1 or accumulation == 1:
            assert before == after


@given(**CASES, data=st.data())
@settings(max_examples=100)
def test_from_any_step_on_and_asked_by_any_process_it_is_the_same(buckets, batch_size, processes, accumulation, data):
    dataset = Sized(buckets, batch_size)
    made = [Places(dataset, process, processes, accumulation, {}, 0, DEALT) for process in range(processes)]
    whole = [seen(places, 2) for places in made]
    stop = data.draw(st.integers(0, made[0].steps * 2 - 1))
    process = data.draw(st.integers(0, processes - 1))
    later = Places(dataset, process, processes, accumulation, {}, 0, DEALT)
    assert whole[process][: stop * accumulation] + seen(later, 2, stop) == whole[process]
    later.begin(1, 0)
    for other in range(processes):
        found = [later.at(step, m, other) for step in range(later.steps) for m in range(accumulation)]
        assert found == whole[other][later.steps * accumulation :]


@given(CASES["buckets"], CASES["batch_size"], st.integers(1, 12), st.data())
def test_other_numbers_of_processes_see_the_same_updates(buckets, batch_size, size, data):
    """A state goes on with another number of them at the same global batch."""
    some = [n for n in range(1, size + 1) if size % n == 0]
    dataset, (one, other) = Sized(buckets, batch_size), (data.draw(st.sampled_from(some)) for _ in range(2))
    made = [both(dataset, processes, size // processes)[1] for processes in (one, other)]
    for step in range(made[0].steps):
        here, there = (sorted(update(places, step).values()) for places in made)
        assert here == there


@given(**CASES, lost=st.sets(st.integers(0, 59), max_size=20))
@settings(max_examples=150)
def test_what_a_roll_back_leaves_out_moves_nothing_else(buckets, batch_size, processes, accumulation, lost):
    lost = {row for row in lost if row < len(buckets)}
    if len(lost) == len(buckets):
        return
    dataset = Sized(buckets, batch_size)
    _, plain = both(dataset, processes, accumulation)
    drawn, dealt = both(dataset, processes, accumulation, dict.fromkeys(lost, 0))
    for step in range(plain.steps):
        before, after = update(plain, step), update(dealt, step)
        assert sorted(after.values()) == sorted(update(drawn, step).values())
        assert not lost & {row for rows in after.values() for row in rows}
        assert all(after[place] == rows for place, rows in before.items() if not lost & set(rows))


def test_images_and_shapes_of_a_micro_step_are_those_of_all_processes():
    dataset = Sized([0] * 5 + [1] * 4 + [3] * 8, batch_size=3)
    for order in (AS_DRAWN, DEALT):
        places = Places(dataset, 0, 2, 3, {}, 7, order)
        places.begin(0, 0)
        for step in range(places.steps):
            for micro_step in range(3):
                there = [places.at(step, micro_step, process).rows for process in range(2)]
                done = 7 + step, 3 * step + micro_step
                assert places.images(*done) == sum(map(len, there))
                sizes = [SIZES[dataset.bucket[rows[0]]] for rows in there]
                shapes = [[4, height // 8, width // 8] for width, height in sizes]
                for rows, shape, found in zip(there, shapes, places.shapes(*done), strict=True):
                    assert found == [len(rows), *shape]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_reads_them(workers):
    dataset = Sized([0, 1, 3] * 8)
    places = Places(dataset, 1, 2, 3, {}, 0, DEALT)
    made = PlacesLoader(dataset, places, workers, persistent=False)
    places.begin(0, 1)
    found = list(made)
    made.close()
    assert found == seen(Places(dataset, 1, 2, 3, {}, 0, DEALT), 1, 1)


def test_the_dealt_order_is_written_down_and_the_drawn_one_is_that_of_before():
    """These numbers may never change: a run of weeks is resumed under another version of every library."""
    dataset = Sized([0, 1, 2, 3] * 4)
    drawn, dealt = (list(update(places, 1).values()) for places in both(dataset, 2, 4))
    assert Places(dataset, 0, 2, 4, {}).costs is None
    assert drawn == [tuple(rows.tolist()) for rows in map(EpochOrder(dataset.bucket, 1, 1, 1).batch, range(8, 16))]
    assert drawn == [(5,), (14,), (9,), (1,), (10,), (8,), (15,), (3,)]  # of sizes 1 2 1 1 2 0 3 3
    assert dealt == [(5,), (8,), (1,), (9,), (14,), (10,), (15,), (3,)]


def test_an_update_of_many_images_is_dealt_from_what_it_needs():
    """No more is kept than the two updates that are read and counted."""
    dataset = Sized(np.arange(100_000) % 4)
    _, dealt = both(dataset, 4, 4)
    for step in range(50):
        dealt.at(step, 0)
    assert dealt.deal_of.cache_info().currsize == 2 and dealt.deal_of.cache_info().misses == 50
