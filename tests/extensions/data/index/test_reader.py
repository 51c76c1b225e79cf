"""Reading: mapped, bounded, the same in forked and in spawned processes; refused in one line where it is broken."""

import json
import multiprocessing
import os
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data.index import seal
from extensions.data.index.build import build
from extensions.data.index.layout import FACTS, index_of
from extensions.data.index.policies import Policies
from extensions.data.index.reader import Index, Unusable
from extensions.data.metadata import Sample
from tests.helpers.index_cases import entry


@pytest.fixture
def index(written, small_parts):
    path = written([(str(i), entry(64 * (1 + i % 3), tags=f"t{i}")) for i in range(10)])
    build([path], index_of(path), None, Policies())
    return Index(index_of(path))


def test_rows_keys_and_sizes(index):
    assert len(index) == 10 and index[9] == Sample("9", "t9", "A cat.", 64, 64)
    assert [key.as_py() for keys in index.keys() for key in keys] == [str(i) for i in range(10)]
    widths, heights = index.sizes()
    assert widths.tolist() == [64 * (1 + i % 3) for i in range(10)] and heights.tolist() == [64] * 10
    assert widths.dtype == heights.dtype == np.int32
    for row in (10, -1):
        with pytest.raises(IndexError):
            index[row]


def test_the_row_of_an_id(index):
    assert index.rows_of([]) == index.rows_of(["10", ""]) == {}
    assert index.rows_of(["9", "none", "3", "0"]) == {"0": 0, "3": 3, "9": 9}
    assert index.facts.rows_per_batch < 9, "over more than one record batch"


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8), st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1
    )
)
def test_any_text_survives(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("meta") / "meta_lat.json"
    path.write_text(json.dumps({key: entry(tags=tags, caption=caption) for key, (tags, caption) in entries.items()}))
    build([path], index_of(path), None, Policies())
    read = Index(index_of(path))
    assert {read[i].key: (read[i].tags, read[i].caption) for i in range(len(read))} == entries


def test_the_bucket_of_every_row_is_one_mapped_array(index):
    assert index.bucket.dtype == np.int16 and index.bucket.shape == (10,)
    assert not index.bucket.flags.owndata and not index.bucket.flags.writeable
    address = index.bucket.ctypes.data
    maps = [
        line.split() for line in open("/proc/self/maps", encoding="utf-8") if line.rstrip().endswith(index.path.name)
    ]
    spans = [tuple(int(end, 16) for end in fields[0].split("-")) for fields in maps]
    assert any(start <= address < end for start, end in spans), "it lies in the file's own pages"


def test_a_copy_that_is_sent_elsewhere_opens_the_file_anew(index):
    sent = pickle.dumps(index)
    assert len(sent) < 500 and pickle.loads(sent)[3] == index[3]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_same(index, method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(index.__getitem__, range(10)) == [index[row] for row in range(10)]


def test_another_content_written_into_the_file(index):
    content = index.path.read_bytes()
    index.require_untouched()
    os.utime(index.path, ns=(1, 1))
    index.require_untouched()
    index.path.write_bytes(content)  # the same: cp of the file it is
    index.require_untouched()
    other = content.replace(index.fingerprint.encode(), b"0" * len(index.fingerprint))
    for written in (other, content + b"more", content[:-1]):
        index.path.write_bytes(written)
        with pytest.raises(
            UserError, match="index.arrow was overwritten while this run reads it; put it back"
        ) as error:
            index.require_untouched()
        assert "\n" not in str(error.value)
    index.path.write_bytes(content)
    index.require_untouched()


def test_a_file_that_was_replaced_or_removed_stays_what_it_was(index):
    new = index.path.with_name("new")
    new.write_bytes(b"other")
    new.rename(index.path)
    index.require_untouched()
    index.path.unlink()
    index.require_untouched()
    assert index[9].key == "9"


def test_no_index(tmp_path):
    with pytest.raises(Unusable, match="no such index"):
        Index(tmp_path / "a.index.arrow")


@pytest.mark.parametrize("share", [0, 0.2, 0.7, 0.999])
def test_a_truncated_file(index, share):
    content = index.path.read_bytes()
    index.path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(Unusable, match=r"meta_lat.json.index.arrow is (truncated|no index).*; .*make index") as error:
        Index(index.path)
    assert "\n" not in str(error.value)


def test_a_folder_and_another_arrow_file(tmp_path):
    (tmp_path / "folder.index.arrow").mkdir()
    with pytest.raises(Unusable, match="cannot be read|no index"):
        Index(tmp_path / "folder.index.arrow")
    path = tmp_path / "other.index.arrow"
    with pa.ipc.new_file(str(path), pa.schema([("a", pa.int8())])) as file:
        file.write_batch(pa.record_batch([pa.array([1], pa.int8())], ["a"]))
    with pytest.raises(Unusable, match="is no index of this version"):
        Index(path)


def test_another_version(index):
    file = pa.ipc.open_file(index.path)
    facts = json.loads(file.schema.metadata[FACTS]) | {"version": 99, "new": 1}
    path = index.path.with_name("b.index.arrow")
    schema = file.schema.with_metadata({FACTS: json.dumps(facts).encode(), seal.NAME: seal.blank(1)})
    with pa.ipc.new_file(str(path), schema) as out:
        out.write_batch(pa.record_batch(file.get_batch(0).columns, schema=schema))
    seal.seal(path)
    with pytest.raises(Unusable, match="b.index.arrow is an index of version 99, this program reads version 2; "):
        Index(path)
