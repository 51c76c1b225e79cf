"""Metadata as an index: rows, buckets, keys, and a fingerprint of keys and sizes alone."""

import json

import pyarrow as pa

from extensions.data import metadata
from extensions.data.index_of import open_index

ENTRIES = {"a": [256, 192], "b": [128, 128], "c": [256, 192], "d": [192, 256]}


def opened(tmp_path, entries, tags="x"):
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({key: {"tags": tags, "train_resolution": size} for key, size in entries.items()}))
    return open_index(path)


def test_rows_and_buckets(tmp_path):
    index = opened(tmp_path, ENTRIES)
    assert len(index) == 4 and index[2].key == "c"
    assert [list(index.buckets[number]) for number in index.bucket] == list(ENTRIES.values())
    assert index.bucket.dtype == "int16"


def test_keys_come_in_row_order_whatever_the_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "BATCH", 3)
    keys = list(opened(tmp_path, ENTRIES).keys())
    assert len(keys) == 2 and pa.concat_arrays(keys).to_pylist() == list("abcd")


def test_the_fingerprint_knows_keys_order_and_sizes_and_no_texts(tmp_path):
    first = opened(tmp_path, ENTRIES).keys_fingerprint
    assert len(first) == 32 and opened(tmp_path, ENTRIES, tags="other").keys_fingerprint == first
    others = [dict(reversed(ENTRIES.items())), ENTRIES | {"a": [128, 128]}, ENTRIES | {"e": [128, 128]}]
    others.append({"ab" if key == "a" else key: size for key, size in ENTRIES.items()})
    assert len({first, *(opened(tmp_path, other).keys_fingerprint for other in others)}) == 5
