"""The order of the data: every row, no matter how many processes, from any step, the same for ever."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.data import hashing, order
from extensions.data.order import EpochOrder, batch_count, place_of, steps_per_epoch

BUCKETS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda rows: np.array(rows, np.int16))


@given(BUCKETS, st.integers(1, 5), st.integers(0, 2**63), st.integers(0, 1000))
def test_an_epoch_has_every_row_once_in_batches_of_one_bucket(bucket, batch_size, seed, epoch):
    made = EpochOrder(bucket, batch_size, seed, epoch)
    batches = [made.batch(place) for place in range(len(made))]
    assert sorted(np.concatenate(batches)) == list(range(len(bucket)))
    assert all(1 <= len(rows) <= batch_size and len(set(bucket[rows])) == 1 for rows in batches)
    # Only the last batch of a bucket may be short.
    assert len(batches) == batch_count(bucket, batch_size)
    assert len(batches) == sum(-(-np.sum(bucket == one) // batch_size) for one in set(bucket))


@given(BUCKETS, st.integers(1, 3), st.integers(1, 8), st.data())
def test_a_global_batch_does_not_know_how_many_processes_share_it(bucket, batch_size, size, data):
    """processes x accumulation is the same: so are the samples of each optimizer step, in any split."""
    processes = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    accumulation = size // processes
    made = EpochOrder(bucket, batch_size, 7, 1)
    for step in range(steps_per_epoch(len(made), processes, accumulation)):
        split = [
            made.batch(place_of(step, micro_step, process, processes, accumulation))
            for micro_step in range(accumulation)
            for process in range(processes)
        ]
        whole = [made.batch(step * size + place) for place in range(size)]
        assert [rows.tolist() for rows in split] == [rows.tolist() for rows in whole]


@given(BUCKETS, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_the_steps_of_an_epoch_cover_it_and_repeat_only_its_beginning(bucket, batch_size, processes, accumulation):
    made = EpochOrder(bucket, batch_size, 3, 0)
    steps = steps_per_epoch(len(made), processes, accumulation)
    # Upstream's count: batches a process, then optimizer steps, each rounded up.
    assert steps == math.ceil(math.ceil(len(made) / processes) / accumulation)
    seen = [made.batch(place).tolist() for place in range(steps * processes * accumulation)]
    planned = [made.batch(place).tolist() for place in range(len(made))]
    assert seen[: len(planned)] == planned
    assert seen[len(planned) :] == (planned * len(seen))[: len(seen) - len(planned)]
    assert len(seen) - len(planned) < processes * accumulation


def test_the_order_is_written_down():
    """These numbers may never change: a run of weeks is resumed under another version of every library."""
    bucket = np.array([0, 1] * 5, np.int16)
    assert order.shuffled(10, 42, 0, order.ROWS).tolist() == [4, 9, 1, 2, 0, 5, 3, 7, 8, 6]
    assert [EpochOrder(bucket, 2, 42, 1).batch(place).tolist() for place in range(6)] == [
        [5, 7],
        [3],
        [4, 6],
        [9, 1],
        [8, 2],
        [0],
    ]


def test_splitmix64_against_its_published_output():
    """Seed 1234567, the test vector of Vigna's splitmix64.c as it is used elsewhere."""
    state, seen = 1234567, []
    for _ in range(3):
        seen.append(int(hashing.mixed(np.array([state], np.uint64))[0]))
        state = (state + 0x9E3779B97F4A7C15) % 2**64
    assert seen == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_seeds_and_epochs_differ_and_each_place_is_equally_likely():
    rows = [order.shuffled(8, seed, epoch, order.ROWS).tolist() for seed in range(40) for epoch in range(40)]
    assert len({tuple(row) for row in rows}) > 1500  # of 40,320 orders
    counts = np.zeros((8, 8))
    for row in rows:
        counts[np.arange(8), row] += 1
    assert abs(counts - 200).max() < 5 * np.sqrt(200 * 7 / 8)  # five standard deviations


@given(BUCKETS, st.integers(1, 3), st.sets(st.integers(0, 59), min_size=1, max_size=6), st.integers(0, 5))
def test_skipped_rows_are_not_seen_from_their_step_on_and_nothing_else_moves(bucket, batch_size, rows, since):
    rows = {row for row in rows if row < len(bucket)}
    plain, made = (EpochOrder(bucket, batch_size, 5, 0, skip) for skip in ({}, dict.fromkeys(rows, since)))
    if len(rows) == len(bucket):
        with pytest.raises(IndexError, match="every row"):
            made.batch(0, since)
        return
    for place in range(len(made)):
        before, after = plain.batch(place), made.batch(place, since)
        assert made.batch(place, since - 1).tolist() == before.tolist()
        assert len(after) and not rows & set(after.tolist())
        if not rows & set(before.tolist()):
            assert after.tolist() == before.tolist()
