"""What takes a corrupt sample's place: of its bucket, the next in row order, the same every time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data import corrupt as substitute
from extensions.data import store
from extensions.data.corrupt import Reader, candidates
from extensions.data.latents import CorruptSample


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.data())
def test_candidates_are_the_bucket_from_the_row_on(bucket, data):
    row = data.draw(st.integers(0, len(bucket) - 1))
    same = [other for other, number in enumerate(bucket) if number == bucket[row]]
    start = same.index(row)
    assert list(candidates(np.array(bucket, np.int16), row)) == same[start:] + same[:start]


def test_candidates_across_blocks(monkeypatch):
    monkeypatch.setattr(substitute, "SCAN", 3)
    assert list(candidates(np.array([0, 1] * 5), 3)) == [3, 5, 7, 9, 1]


def reader(data_set, broken, limit=9):
    for key in broken:
        (data_set.data / f"{key}.npz").write_bytes(b"broken")
    return Reader(store.open_store(data_set.data, data_set.index), data_set.index, limit, "and so it goes on")


@pytest.mark.parametrize(
    ("broken", "row", "found"), [([], 3, "id3"), (["id3"], 3, "id6"), (["id3", "id6"], 3, "id9"), (["id9"], 9, "id0")]
)
def test_the_next_of_the_bucket(data_set, broken, row, found):
    """Images go to three buckets by turns."""
    for _ in range(2):
        read = reader(data_set, broken).read(row)
        assert read.sample.key == found and read.latents.crop[0] == int(found[2:])
        assert [key for key, _ in read.skipped] == broken
        assert all(f"{key}.npz is corrupt" in reason for key, reason in read.skipped)


def test_what_a_rollback_left_out_takes_no_place(data_set):
    found = reader(data_set, ["id3"]).read(3, frozenset({6}))
    assert found.sample.key == "id9" and found.skipped[0][0] == "id3"
    assert reader(data_set, []).read(6, frozenset({6})).sample.key == "id6"  # planned: the order knows what it does


def test_no_readable_one_left_in_the_bucket(data_set):
    broken = ["id0", "id3", "id6", "id9"]
    with pytest.raises(UserError, match="4 corrupt samples .*bucket 256x192, none readable.*id9.npz") as error:
        reader(data_set, broken).read(6 - 6)
    assert not isinstance(error.value, CorruptSample)
    reader(data_set, broken).read(1)


def test_no_more_than_the_limit_in_a_row(data_set):
    with pytest.raises(UserError, match="3 corrupt samples one after the other"):
        reader(data_set, ["id0", "id3", "id6"], limit=2).read(0)
    assert reader(data_set, [], limit=3).read(0).sample.key == "id9"


def test_missing_files_and_runs_without_skip_stop(data_set):
    with pytest.raises(CorruptSample, match=r"id3\.npz is corrupt .*; and so it goes on$"):
        reader(data_set, ["id3"], limit=0).read(3)
    made = reader(data_set, [])
    (data_set.data / "id4.npz").unlink()
    with pytest.raises(UserError, match=r"id4\.npz is missing"):
        made.read(4)
