"""The order of a mixture is a function of seed, epoch and step: shares are exact, passes whole, steps where asked."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data.loader import Places
from extensions.data.mixed_order import Mix, MixedOrder, counts, shared_out
from extensions.data.order import steps_per_epoch
from extensions.data.sources import Source


def source(name: str, **more) -> Source:
    return Source(name, Path("x"), Path("y"), **more)


def mix(sizes, sources, batch_size=1, buckets=3, trained=None) -> Mix:
    """Rows of several buckets by turns."""
    bucket = np.concatenate([np.arange(size) % buckets for size in sizes]).astype(np.int16)
    return Mix(sources, bucket, np.cumsum([0, *sizes]), batch_size, trained)


class Mixed(torch.utils.data.Dataset):
    """As much of a data set as the order is made of."""

    def __init__(self, made: Mix, seed: int = 1):
        self.mix, self.batch_size, self.seed, self.trained = made, made.batch_size, seed, None
        self.bucket = np.concatenate(made.buckets)

    def __len__(self):
        return len(self.mix)


def updates(made: Mix, epochs: int, processes: int, accumulation: int, ahead: int = 0) -> list[list[tuple[int, ...]]]:
    """The global batch of each optimizer step of the run."""
    places = Places(Mixed(made), 0, processes, accumulation, {}, ahead)
    found = []
    for epoch in range(epochs):
        places.begin(epoch, 0)
        found += [[place.rows for _, _, place in places.global_batch(step)] for step in range(places.steps)]
    return found


SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=3)
SHARES = st.lists(st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0]), min_size=3, max_size=3)
FIRST = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), min_size=2, max_size=2)


def made_of(sizes, shares, windows, batch_size, kind) -> Mix:
    """The first source goes on to the end; the others begin and end."""
    none = {"repeats": None} if kind == "weight" else {}
    named = [source("0", **none | {kind: shares[0]})]
    for number, (share, (first, more)) in enumerate(zip(shares[1:], windows, strict=True), start=1):
        words = none | {kind: share}
        named.append(source(str(number), first_step=first, last_step=first + more, **words))
    return mix(sizes, named[: len(sizes)], batch_size)


CASES = dict(
    sizes=SIZES,
    shares=SHARES,
    windows=FIRST,
    batch_size=st.integers(1, 3),
    kind=st.sampled_from(["repeats", "weight"]),
    processes=st.integers(1, 3),
    accumulation=st.integers(1, 2),
)


@settings(max_examples=60)
@given(**CASES, start=st.integers(0, 30))
def test_any_step_is_that_of_the_unbroken_order(
    sizes, shares, windows, batch_size, kind, processes, accumulation, start
):
    made = made_of(sizes, shares, windows, batch_size, kind)
    whole = updates(made, 3, processes, accumulation)
    steps = steps_per_epoch(len(made), processes, accumulation)
    epoch, step = divmod(min(start, 3 * steps - 1), steps)
    places = Places(Mixed(made), 0, processes, accumulation, {})
    places.begin(epoch, step)
    assert [place.rows for _, _, place in places.global_batch(step)] == whole[epoch * steps + step]


@settings(max_examples=60)
@given(**CASES, ahead=st.integers(0, 5))
def test_each_update_reads_the_sources_that_take_part(
    sizes, shares, windows, batch_size, kind, processes, accumulation, ahead
):
    made = made_of(sizes, shares, windows, batch_size, kind)
    ends = made.offsets[1:]
    for step, update in enumerate(updates(made, 3, processes, accumulation, ahead)):
        read = {int(np.searchsorted(ends, row, "right")) for rows in update for row in rows}
        assert all(made.sources[number].takes_part(ahead + step) for number in read)
        assert len(update) == processes * accumulation
        assert all(len({made_bucket(made, row) for row in rows}) == 1 for rows in update)


def made_bucket(made: Mix, row: int) -> tuple[int, int]:
    """A batch is of one source and one bucket."""
    number = int(np.searchsorted(made.offsets[1:], row, "right"))
    return number, int(made.buckets[number][row - made.offsets[number]])


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_an_update_has_the_same_samples_on_any_number_of_processes(processes):
    made = mix([50, 20], [source("a", repeats=0.5), source("b", repeats=2.0, first_step=4)])
    wanted = [sorted(update) for update in updates(made, 2, 1, 4)]
    assert [sorted(update) for update in updates(made, 2, processes, 4 // processes)] == wanted


def test_shares_are_exact_and_no_image_comes_again_before_all_of_its_source():
    made = mix([40, 10], [source("a", repeats=0.5), source("b", repeats=3.0)])
    order = [MixedOrder(made, 1, epoch).batch(place)[0] for epoch in range(4) for place in range(len(made))]
    assert len(made) == 50
    for epoch in range(4):
        of_epoch = order[epoch * 50 : (epoch + 1) * 50]
        assert sum(row < 40 for row in of_epoch) == 20
    first = [row for row in order if row < 40]
    assert sorted(first[:40]) == sorted(first[40:]) == list(range(40)) and first[:40] != first[40:]
    second = [row for row in order if row >= 40]
    assert [sorted(second[at : at + 10]) for at in range(0, 120, 10)] == [list(range(40, 50))] * 12


def test_passes_of_a_source_are_drawn_each_anew_and_so_are_their_texts():
    made = mix([6], [source("a", repeats=2.0)])
    places = Places(Mixed(made), 0, 1, 1, {})
    places.begin(0, 0)
    found = list(places)
    assert Counter(place.epoch for place in found) == {1: 6, 2: 6}
    assert len({(place.epoch, place.rows) for place in found}) == 12


def test_weights_share_out_as_many_samples_as_there_are_images():
    made = [source(name, repeats=None, weight=weight) for name, weight in (("a", 3.0), ("b", 1.0))]
    assert counts(made, [10, 90]) == [75, 25]


@given(st.integers(0, 1000), st.lists(st.floats(0.01, 100), min_size=1, max_size=5))
def test_whole_things_are_shared_out_to_the_last(length, shares):
    found = shared_out(length, shares)
    assert sum(found) == length
    assert all(abs(each - length * share / sum(shares)) < 1 + 1e-6 for each, share in zip(found, shares, strict=True))


def test_held_out_rows_are_not_read():
    kept = np.array([0, 1, 3, 5, 6, 9], np.int32)
    made = mix([5, 5], [source("a"), source("b", repeats=2.0)], trained=kept)
    assert {int(MixedOrder(made, 1, epoch).batch(place)[0]) for epoch in (0, 1) for place in range(len(made))} == set(
        kept.tolist()
    )
    with pytest.raises(UserError, match="source b of the mixture has no image to train on"):
        mix([5, 5], [source("a"), source("b")], trained=np.array([0, 1], np.int32))


def test_skipped_rows_have_stand_ins_of_their_source():
    made = mix([12, 12], [source("a"), source("b")], buckets=1)
    plain, without = MixedOrder(made, 1, 0, {}, 2), MixedOrder(made, 1, 0, {3: 0, 15: 5}, 2)
    early = [(int(plain.batch(place, 4)[0]), int(without.batch(place, 4)[0])) for place in range(24)]
    late = [(int(plain.batch(place, 5)[0]), int(without.batch(place, 5)[0])) for place in range(24)]
    assert {one for one, other in early if one != other} == {3}
    assert {one for one, other in late if one != other} == {3, 15}
    assert all((one < 12) == (other < 12) for one, other in late)


def test_costs_are_those_of_the_batches():
    made = mix([10, 7], [source("a"), source("b")], batch_size=2)
    order, of_image = MixedOrder(made, 1, 0, {}, 3), np.array([5, 7, 11], np.int64)
    for first in (0, 3, len(made) - 1):
        wanted = [
            sum(int(of_image[Mixed(made).bucket[row]]) for row in order.batch(place))
            for place in range(first, first + 3)
        ]
        assert order.costs(first, of_image) == wanted


def test_the_order_is_pinned():
    """States name the data by a fingerprint with a version: another order needs another one (mixture.VERSION)."""
    made = mix([4, 3], [source("a"), source("b", first_step=3)])
    found = [[row for rows in update for row in rows] for update in updates(made, 1, 1, 2)]
    assert found == PINNED


PINNED = [[3, 1], [0, 2], [2, 6], [1, 2]]
