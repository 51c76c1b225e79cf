"""The third pass: what stays, in batches of one size, under fingerprints that say what it is."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data.index import assemble, layout, parts
from extensions.data.index.build import build
from extensions.data.index.layout import index_of
from extensions.data.index.policies import Policies
from extensions.data.index.reader import Index
from tests.helpers.index_cases import entry

SKIP = Policies("first", "refuse", "skip", "skip")


def made(path, policies=SKIP) -> Index:
    build([path], index_of(path), None, policies)
    return Index(index_of(path))


@given(keep=st.lists(st.booleans(), min_size=1, max_size=23).filter(any), rows=st.integers(1, 6))
def test_what_stays_in_order_in_batches_of_one_size(tmp_path_factory, keep, rows):
    path = tmp_path_factory.mktemp("index") / "meta.json"
    path.write_text(json.dumps({str(i): entry(64 if kept else 7, tags=f"t{i}") for i, kept in enumerate(keep)}))
    with pytest.MonkeyPatch.context() as patch:
        for module in (assemble, layout, parts):
            patch.setattr(module, "ROWS", rows)
        index = made(path)
    kept = [str(i) for i, stays in enumerate(keep) if stays]
    assert [index[i].key for i in range(len(index))] == kept and index[len(kept) - 1].tags == f"t{kept[-1]}"
    sizes = [len(keys) for keys in index.keys()]
    assert all(size == rows for size in sizes[:-1]) and 0 < sizes[-1] <= rows


def test_fingerprints_follow_the_content_and_nothing_else(written, monkeypatch):
    pairs = [(str(i), entry(64 * (1 + i % 2))) for i in range(9)]
    first = made(written(pairs))
    for rows in (2, 9):
        for module in (assemble, layout, parts):
            monkeypatch.setattr(module, "ROWS", rows)
        again = made(written(json.dumps(dict(pairs), indent=3) + "\n" * rows, "other.json"))
        assert (again.fingerprint, again.keys_fingerprint) == (first.fingerprint, first.keys_fingerprint)
    skipped = made(written([*pairs[:4], ("bad", entry(3)), *pairs[4:]], "skipped.json"))
    assert (skipped.fingerprint, skipped.keys_fingerprint) == (first.fingerprint, first.keys_fingerprint)
    texts = made(written([*pairs[:-1], ("8", entry(tags="other"))], "texts.json"))
    assert texts.fingerprint != first.fingerprint and texts.keys_fingerprint == first.keys_fingerprint
    for name, changed in {
        "order": pairs[::-1],
        "key": [*pairs[:-1], ("9", entry())],
        "size": [*pairs[:-1], ("8", entry(8))],
    }.items():
        other = made(written(changed, f"{name}.json"))
        assert other.fingerprint != first.fingerprint and other.keys_fingerprint != first.keys_fingerprint


def test_buckets_are_those_that_occur_sorted_and_counted(written, small_parts):
    index = made(
        written([(str(i), entry(*size)) for i, size in enumerate([(128, 64), (64, 192), (64, 64), (128, 64)] * 3)])
    )
    assert index.buckets == [(64, 64), (64, 192), (128, 64)]
    assert index.bucket.tolist() == [2, 1, 0, 2] * 3
    assert [count for *_, count in index.facts.buckets] == [3, 3, 6]


def test_any_arrow_reader_can_open_it(written, small_parts):
    path = written([(str(i), entry(64 + 64 * (i % 2))) for i in range(6)])
    made(path)
    table = pa.ipc.open_file(index_of(path)).read_all()
    assert table.column("bucket").to_pylist() == [0, 1] * 3 and table.column("width").to_pylist() == [64, 128] * 3
    assert table.column("every_bucket").to_pylist() == [[0, 1] * 3, *[[]] * 5]


def test_too_many_sizes_for_a_bucket_number():
    sizes = np.arange(1, 40_000, dtype=np.int32)
    with pytest.raises(UserError, match="39,999 different sizes"):
        assemble.number_buckets(sizes, sizes)
    buckets, numbers, counts = assemble.number_buckets(sizes[:32_767], sizes[:32_767])
    assert (
        numbers.dtype == np.int16 and numbers[-1] == 32_766 and buckets[-1] == [32_767, 32_767] and set(counts) == {1}
    )
