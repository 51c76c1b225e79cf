"""Who stands in for skipped rows: in one update no image twice, whoever asks, and nothing else moves."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.data.order import EpochOrder, place_of, steps_per_epoch

BUCKETS = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(lambda rows: np.array(rows, np.int16))
SIZES = st.integers(1, 3)


def update_of(order, step):
    """The batches of an optimizer step."""
    return [order.batch(step * order.update + number, step).tolist() for number in range(order.update)]


def skipping(bucket, batch_size, update, lost_steps, since, more=()):
    """(the plain order, the same without all rows of some steps and some more, the skipped rows)."""
    plain = EpochOrder(bucket, batch_size, 5, 2, update=update)
    lost = {row for step in lost_steps for rows in update_of(plain, step) for row in rows}
    lost |= {row for row in more if row < len(bucket)}
    return plain, EpochOrder(bucket, batch_size, 5, 2, dict.fromkeys(lost, since), update), lost


@given(BUCKETS, SIZES, st.integers(1, 8), st.data())
@settings(max_examples=200)
def test_each_skipped_place_has_a_row_of_its_own_of_the_same_bucket(bucket, batch_size, update, data):
    steps = steps_per_epoch(len(EpochOrder(bucket, batch_size, 5, 2)), update, 1)
    lost_steps = data.draw(st.sets(st.integers(0, steps - 1), max_size=2))
    plain, made, lost = skipping(bucket, batch_size, update, lost_steps, 0, data.draw(st.sets(st.integers(0, 59))))
    allowed = Counter(bucket[row] for row in range(len(bucket)) if row not in lost)
    for step in range(steps if allowed else 0):
        before, after = update_of(plain, step), update_of(made, step)
        flat = [row for rows in after for row in rows]
        assert all(after) and not lost & set(flat)
        assert all(len({bucket[row] for row in rows}) == 1 for rows in after)
        kept = [row for rows in before for row in rows if row not in lost]
        assert set(kept) <= set(flat)
        wanted = Counter(bucket[row] for rows in before for row in rows)
        if all(allowed[number] >= count for number, count in wanted.items()) and update <= len(plain):
            assert len(set(flat)) == len(flat), "an image twice in one update"
            assert [len(rows) for rows in after] == [len(rows) for rows in before]
            assert [bucket[rows[0]] for rows in after] == [bucket[rows[0]] for rows in before]
        elif update <= len(plain) and wanted.total() <= allowed.total():  # earlier batches fill all their places
            assert len(set(flat)) == len(flat), "the epoch has enough"


@given(BUCKETS, SIZES, st.integers(1, 8), st.sets(st.integers(0, 59), min_size=1, max_size=20), st.data())
def test_any_split_of_the_global_batch_has_the_same_stand_ins(bucket, batch_size, size, more, data):
    """Asked for in any order, by a process that computes no other's batches."""
    processes = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    accumulation = size // processes
    _, whole, lost = skipping(bucket, batch_size, size, [], 0, more)
    if len(lost) == len(bucket):
        return
    _, split, _ = skipping(bucket, batch_size, size, [], 0, more)
    for step in reversed(range(steps_per_epoch(len(whole), processes, accumulation))):
        places = [
            (micro_step, process) for micro_step in range(accumulation) for process in reversed(range(processes))
        ]
        found = {
            place: split.batch(place_of(step, *place, processes, accumulation), step).tolist() for place in places
        }
        assert [found[place] for place in sorted(places)] == update_of(whole, step)


def test_the_steps_before_and_the_places_beside_stay_as_they_were():
    bucket = np.zeros(1000, np.int16)
    plain, made, lost = skipping(bucket, 4, 4, [7], 5)
    assert all(update_of(plain, step) == update_of(made, step) for step in range(62) if step != 7)
    later = EpochOrder(bucket, 4, 5, 3, dict.fromkeys(lost, 8), 4)
    before = EpochOrder(bucket, 4, 5, 3, update=4)
    changed = 0
    for step in range(8, 62):
        pairs = list(zip(sum(update_of(before, step), []), sum(update_of(later, step), []), strict=True))
        assert all((old == new) == (old not in lost) for old, new in pairs)
        changed += sum(old != new for old, new in pairs)
    assert changed == len(lost) - sum(row in lost for step in range(8) for row in sum(update_of(before, step), []))


def test_stand_ins_come_from_all_over_the_epoch():
    plain, made, _ = skipping(np.zeros(10_000, np.int16), 1, 16, [3], 0)
    at = {row: step for step in range(625) for rows in update_of(plain, step) for row in rows}
    steps = {at[row] for rows in update_of(made, 3) for row in rows}
    assert len(steps) >= 14 and max(steps) > 300 and not steps & {2, 3, 4}


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_bucket_of_its_own_is_found_among_many_rows(batch_size):
    """Six rows among 200,000: two of a step are lost, four are left; then all six."""
    bucket = np.zeros(200_000, np.int16)
    rare = [5, 50_000, 70_000, 100_000, 150_000, 199_999]
    bucket[rare] = 1
    for lost in (rare[:2], rare):
        made = EpochOrder(bucket, batch_size, 1, 0, dict.fromkeys(lost, 0), 4)
        stand_in = made.stand_ins.filled([np.array([row], np.int32) for row in lost], 0)
        found = [int(rows[0]) for rows in stand_in]
        assert len(set(found)) == len(lost) and not set(found) & set(rare[:2])
        assert {int(bucket[row]) for row in found} == ({1} if lost != rare else {0})


def test_these_choices_may_never_change():
    """A run that was rolled back is resumed under another version of every library."""
    bucket = np.array([0, 1] * 20, np.int16)
    for batch_size, expected in PINNED.items():
        _, made, _ = skipping(bucket, batch_size, 4, [1], 0)
        assert update_of(made, 1) == expected


PINNED = {1: [[26], [36], [34], [28]], 2: [[31, 5], [24, 20], [36, 18], [28, 10]]}
