"""The historical JSON: read as it is, refused in one line where it is broken."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.data import metadata
from extensions.errors import UserError

GOOD = {"tags": "1cat", "caption": "A cat.", "train_resolution": [256, 192]}


def written(tmp_path, content):
    path = tmp_path / "meta_lat.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_reads_texts_and_sizes(tmp_path):
    bare = {"train_resolution": [64, 64], "caption": None}
    read = metadata.read(written(tmp_path, {"7": GOOD, "é": bare}))
    assert len(read) == 2
    assert read[0] == metadata.Sample("7", "1cat", "A cat.", 256, 192)
    assert read[1] == metadata.Sample("é", "", "", 64, 64)
    assert [list(side) for side in read.sizes()] == [[256, 64], [192, 64]]


def test_many_batches_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "BATCH", 3)
    read = metadata.read(written(tmp_path, {str(i): GOOD for i in range(10)}))
    assert [read[i].key for i in range(10)] == [str(i) for i in range(10)]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        '{"1": ',
        "{}",
        [],
        {"1": "text"},
        {"1": GOOD | {"tags": 3}},
        {"1": GOOD | {"caption": ["a"]}},
        {"1": {"tags": "a"}},
        {"1": GOOD | {"train_resolution": [256]}},
        {"1": GOOD | {"train_resolution": [250, 256]}},
        {"1": GOOD | {"train_resolution": [256.5, 256]}},
        {"1": GOOD | {"train_resolution": "256x256"}},
    ],
)
def test_broken_metadata_are_one_line(tmp_path, content):
    with pytest.raises(UserError) as error:
        metadata.read(written(tmp_path, content))
    assert "\n" not in str(error.value) and "meta_lat.json" in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such"):
        metadata.read(tmp_path / "nothing.json")


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8), st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1
    )
)
def test_any_text_survives(tmp_path_factory, entries):
    content = {k: {"tags": t, "caption": c, "train_resolution": [64, 64]} for k, (t, c) in entries.items()}
    read = metadata.read(written(tmp_path_factory.mktemp("meta"), content))
    assert {read[i].key: (read[i].tags, read[i].caption) for i in range(len(read))} == entries
