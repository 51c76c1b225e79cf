"""The second pass: what is counted, what stays, and keys that share a hash."""

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from extensions.data.index import parts, verdict
from extensions.data.index.layout import index_of
from extensions.data.index.policies import Policies
from extensions.data.index.verdict import contains, hashes_of, judge
from tests.helpers.index_cases import entry

pytestmark = pytest.mark.usefixtures("small_parts")
MIXED = [
    ("a", entry()), ("b", entry(width=7)), ("b", entry()), ("c", entry(tags="", caption="")), ("a", entry(128)),
    ("gone", entry()), ("b", entry(192)), ("gone", entry()),
]  # fmt: skip
PRESENT = np.sort(hashes_of(pa.array(["a", "b", "c", "unlisted"])))


def judged(written, pairs, policies, present=None):
    path = written(pairs)
    return judge(parts.read([path], index_of(path)), policies, present)


def test_all_kinds_are_counted_named_and_refused_at_once(written):
    found = judged(written, MIXED, Policies(empty_text="refuse"), PRESENT)
    assert found.counts == {"bad_size": 1, "empty_text": 1, "missing": 2, "duplicates": 4}
    assert found.examples["duplicates"] == ["a", "b", "gone", "b"] or sorted(found.examples["duplicates"]) == [
        "a",
        "b",
        "b",
        "gone",
    ]
    assert found.examples["missing"] == ["gone", "gone"] and found.examples["empty_text"] == ["c"]
    assert "'b' is [7, 64]" in found.examples["bad_size"][0]
    assert found.refused(Policies(empty_text="refuse")) == ["bad_size", "empty_text", "missing", "duplicates"]
    assert found.left_out == {} and found.keep.all()


def test_what_is_skipped_goes_and_the_first_that_can_be_used_stays(written):
    policies = Policies("first", "skip", "skip", "skip")
    found = judged(written, MIXED, policies, PRESENT)
    assert np.flatnonzero(found.keep).tolist() == [0, 2]
    assert found.left_out == {"bad_size": 1, "empty_text": 1, "missing": 2, "duplicates": 2}
    assert found.refused(policies) == []


def test_without_a_folder_nothing_is_missing_and_empty_texts_stay(written):
    found = judged(written, MIXED, Policies("first", "refuse", "skip"))
    assert "missing" not in found.counts and np.flatnonzero(found.keep).tolist() == [0, 2, 3, 5]


def test_each_look_at_the_rows_is_told(written, shown):
    judged(written, MIXED, Policies("first", "skip", "skip"), PRESENT)
    judged(written, MIXED, Policies("first", "skip", "skip"))
    assert shown == {("judging", 4 * 8, "checks"): [(n, n) for n in (8, 16, 24, 32)],
                     ("judging", 3 * 8, "checks"): [(n, n) for n in (8, 16, 24)]}  # fmt: skip


def test_only_so_many_examples_are_named(written, monkeypatch):
    monkeypatch.setattr(verdict, "EXAMPLES", 3)
    found = judged(written, [(str(i), entry(tags="", caption="")) for i in range(9)], Policies())
    assert found.counts["empty_text"] == 9 and found.examples["empty_text"] == ["0", "1", "2"]


class Weak:
    """xxhash with three values only."""

    @staticmethod
    def xxh3_64_intdigest(data):
        return xxhash.xxh3_64_intdigest(data) % 3


@given(keys=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30), pairs=st.integers(1, 5))
def test_equal_hashes_are_not_taken_for_equal_keys(tmp_path_factory, keys, pairs):
    folder = tmp_path_factory.mktemp("weak")
    path = folder / "meta.jsonl"
    path.write_text("".join(f'{{"image_path": "{key}.png", "image_size": [8, 8]}}\n' for key in keys))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "xxhash", Weak)
        patch.setattr(verdict, "PAIRS", pairs)
        found = judge(parts.read([path], index_of(path)), Policies(duplicates="first"), None)
    assert np.flatnonzero(found.keep).tolist() == sorted({key: keys.index(key) for key in keys}.values())
    assert found.counts["duplicates"] == len(keys) - len(set(keys))


def test_membership_of_nothing_and_of_some():
    some = np.array([1, 5, 2**64 - 1], np.uint64)
    assert contains(some, np.array([0, 1, 5, 6, 2**64 - 1], np.uint64)).tolist() == [False, True, True, False, True]
    assert contains(some[:0], some).tolist() == [False] * 3


def test_a_million_rows_take_some_bytes_each(written, monkeypatch):
    """The columns of numbers, and no Python object a row."""
    import tracemalloc

    hashes = np.random.default_rng(0).integers(0, 2**63, 1_000_000).astype(np.uint64)
    tracemalloc.start()
    assert not verdict.duplicates(None, hashes, np.arange(len(hashes))).any()
    assert tracemalloc.get_traced_memory()[1] < 60 * len(hashes)
    tracemalloc.stop()
