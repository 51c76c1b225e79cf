"""What is held out is so by its id alone, in proportion, stays so when a set grows, and is never trained on."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data import held_out, index
from extensions.data.order import EpochOrder, batch_count


class Keys:
    """An index of ids, in record batches of three."""

    def __init__(self, keys):
        self.all = list(keys)

    def __len__(self):
        return len(self.all)

    def keys(self):
        import pyarrow as pa

        for first in range(0, len(self.all), 3):
            yield pa.array(self.all[first : first + 3], pa.string())


def ids(keys: Keys, rows) -> set[str]:
    return {keys.all[row] for row in rows}


def test_the_hash_is_for_ever():
    assert [held_out.hash_of(key) for key in ("", "a", "ordner/ä b")] == [
        11611978642234390058, 2969874272111401943, 312620649840464998,
    ]  # fmt: skip


NAMES = st.lists(st.text(min_size=1, max_size=6), unique=True, min_size=1, max_size=60)


@given(names=NAMES, more=NAMES, share=st.floats(0, 1))
def test_a_share_is_by_the_id_alone(names, more, share):
    """In any order, and in a set that grows, the same ids are held out."""
    small, large = Keys(names), Keys([*more, *(name for name in names if name not in more)])
    out, beside = held_out.choose(small, share, None)
    assert ids(small, out) == ids(large, held_out.choose(large, share, None)[0]) & set(names)
    assert sorted([*out.tolist(), *beside.tolist()]) == list(range(len(small)))


@given(names=NAMES, more=NAMES, count=st.integers(1, 20))
def test_a_count_holds_out_none_that_was_trained_on(names, more, count):
    small, large = Keys(names), Keys([*more, *(name for name in names if name not in more)])
    before, now = (ids(keys, held_out.choose(keys, None, count)[0]) for keys in (small, large))
    assert len(before) == min(count, len(small)) and len(now) == min(count, len(large))
    assert now & set(names) <= before


def test_every_bucket_loses_its_share():
    """Of 30,000 in three buckets, to within five standard deviations of the binomial."""
    keys = Keys(f"image-{number}" for number in range(30_000))
    out, _ = held_out.choose(keys, 0.02, None)
    counts = np.bincount(out % 3, minlength=3)
    assert (abs(counts - 200) < 5 * (10_000 * 0.02 * 0.98) ** 0.5).all()


@given(
    buckets=st.lists(st.integers(0, 3), min_size=4, max_size=80),
    batch_size=st.integers(1, 4),
    epoch=st.integers(0, 3),
    data=st.data(),
)
def test_an_epoch_has_each_other_row_once(buckets, batch_size, epoch, data):
    bucket = np.array(buckets, np.int16)
    out = np.array(sorted(data.draw(st.sets(st.integers(0, len(buckets) - 1), max_size=len(buckets) // 2))), np.int32)
    kept = held_out.trained(len(bucket), out)
    order = EpochOrder(bucket, batch_size, 5, epoch, trained=kept)
    batches = [order.batch(place) for place in range(len(order))]
    assert len(order) == batch_count(bucket[kept], batch_size)
    assert sorted(row for batch in batches for row in batch.tolist()) == kept.tolist()
    assert all(len(set(bucket[batch].tolist())) == 1 for batch in batches)


@given(buckets=st.lists(st.integers(0, 3), min_size=6, max_size=60), batch_size=st.integers(1, 3), data=st.data())
def test_nor_is_one_held_out_in_the_place_of_a_skipped_one(buckets, batch_size, data):
    bucket = np.array(buckets, np.int16)
    rows = st.integers(0, len(buckets) - 1)
    out = np.array(sorted(data.draw(st.sets(rows, max_size=len(buckets) // 3))), np.int32)
    kept = held_out.trained(len(bucket), out)
    skipped = dict.fromkeys(data.draw(st.sets(st.sampled_from(kept.tolist()), max_size=len(kept) - 1)), 0)
    order = EpochOrder(bucket, batch_size, 5, 0, skipped, 2, kept)
    seen = {row for place in range(len(order)) for row in order.batch(place).tolist()}
    assert not seen & set(out.tolist()) and not seen & set(skipped)


def test_what_takes_no_corrupt_ones_place():
    left = held_out.LeftOut({7}, np.array([9, 3], np.int32))
    assert [row for row in range(12) if row in left] == [3, 7, 9]
    assert 5 not in held_out.LeftOut()


@pytest.mark.parametrize(("out", "said"), [(0, "holds out none of 10 images"), (6, "6 of 10 images, more than half")])
def test_none_and_too_many_are_refused(out, said):
    with pytest.raises(UserError, match=said):
        held_out.require_some(np.arange(out), 10, "--validation_share=0.5")
    held_out.require_some(np.arange(5), 10, "--validation_share=0.5")


def test_ids_in_two_sets_are_found(tmp_path):
    made = []
    for name, keys in (("one", "abc"), ("two", "cdbef")):
        entry = {"caption": "x", "train_resolution": [64, 64]}
        (tmp_path / f"{name}.json").write_text(json.dumps(dict.fromkeys(keys, entry)))
        made.append(index.open_for(tmp_path / f"{name}.json", None))
    assert sorted(held_out.in_both(*made)) == sorted(held_out.in_both(*reversed(made))) == ["b", "c"]
