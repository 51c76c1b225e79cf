"""Packing: verified, resumable, refused in one line where it cannot work; the source is never touched."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from extensions.base.errors import UserError
from extensions.data import store
from extensions.data.index import open_for
from extensions.data.latents import CorruptSample
from extensions.data.pack import header, is_pack, make, places, write
from tests.helpers import npz_sets
from tests.helpers.pack_cases import TWO_RECORDS, rows, wish


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_pack_reads_as_its_npz_do(data_set, jobs):
    before = contents(data_set.data)
    made = make.make(data_set.index, wish(data_set), jobs)
    assert made.dtype == "float32" and len(made.shards) > 3 and made.images == 12 and made.source == "latents"
    opened = store.open_store(data_set.data, data_set.index)
    for row, packed in enumerate(rows(data_set, data_set.folder / "pack")):
        plain = opened.read(row, data_set.index[row])
        assert np.array_equal(packed.latents, plain.latents)
        assert (packed.original_size, packed.crop) == (plain.original_size, plain.crop)
    assert contents(data_set.data) == before
    names = {shard.file for shard in made.shards} | {"pack.json", "keys.arrow", make.LOCK}
    assert set(contents(data_set.folder / "pack")) - names == {
        path.name for path in (data_set.folder / "pack").glob("rows-*")
    }


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_lowered_pack_holds_the_cast(data_set, dtype):
    make.make(data_set.index, wish(data_set, dtype=dtype), 1)
    for row, packed in enumerate(rows(data_set, data_set.folder / "pack")):
        sample = data_set.index[row]
        source = npz_sets.latents_of(row, (sample.width, sample.height))
        cast = torch.from_numpy(source).to(getattr(torch, dtype)).float()
        assert np.array_equal(packed.latents, cast.numpy())


def test_half_precision_is_kept(tmp_path):
    meta, data = npz_sets.make(tmp_path, dtype=np.float16)
    made = make.make(open_for(meta, data), make.Wish(data, tmp_path / "pack"), 1)
    assert made.dtype == "float16"


def test_shards_hold_one_bucket_in_row_order(data_set):
    made = make.make(data_set.index, wish(data_set), 1)
    table = header.keys(data_set.folder / "pack", header.read(data_set.folder / "pack")).to_pydict()
    for key, number, record in zip(table["key"], table["shard"], table["record"], strict=True):
        shard = made.shards[number]
        sample = data_set.index[int(key[2:])]
        assert shard.file.startswith(f"{sample.width}x{sample.height}-")
        assert made.buckets[shard.bucket] == (sample.width, sample.height) and record < shard.records
    numbers = list(zip(table["shard"], table["record"], (int(key[2:]) for key in table["key"]), strict=True))
    assert numbers == sorted(numbers, key=lambda each: (each[0], each[2]))
    found = pa.concat_arrays(store.present_ids(data_set.folder / "pack"))
    assert found.to_pylist() == table["key"]


def test_an_interrupted_pack_goes_on_with_the_shards_that_are_left(data_set, monkeypatch):
    plain, written = write.write, []

    def failing(task):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(task.file)
        return plain(task)

    monkeypatch.setattr(write, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        make.make(data_set.index, wish(data_set), 1)
    folder = data_set.folder / "pack"
    assert is_pack(folder)
    with pytest.raises(UserError, match="unfinished pack"):
        store.open_store(folder, data_set.index)
    with pytest.raises(UserError, match="unfinished pack of other data, dtype"):
        make.make(data_set.index, wish(data_set, dtype="float16"), 1)
    times = {name: (folder / name).stat().st_mtime_ns for name in written}
    monkeypatch.setattr(write, "write", plain)
    made = make.make(data_set.index, wish(data_set), 1)
    assert {name: (folder / name).stat().st_mtime_ns for name in written} == times
    assert len(rows(data_set, folder)) == made.images == 12 and not (folder / "unfinished").exists()


def test_a_finished_shard_whose_npz_changed_is_packed_again(data_set, monkeypatch, capsys):
    plain, written = write.write, []

    def failing(task):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(task)
        return plain(task)

    monkeypatch.setattr(write, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        make.make(data_set.index, wish(data_set), 1)
    key = written[0].keys[0]
    row = int(key[2:])
    npz_sets.write(data_set.data, key, npz_sets.latents_of(99, npz_sets.SIZES[row % 3]))
    monkeypatch.setattr(write, "write", plain)
    make.make(data_set.index, wish(data_set), 1)
    assert f"{written[0].file} is packed again" in capsys.readouterr().out
    expected = npz_sets.latents_of(99, npz_sets.SIZES[row % 3])
    assert np.array_equal(rows(data_set, data_set.folder / "pack")[row].latents, expected)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_corrupt_npz_stops_or_is_left_out(data_set, jobs):
    for key in ("id4", "id5"):
        (data_set.data / f"{key}.npz").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"id\d\.npz is corrupt.*BAD=skip") as error:
        make.make(data_set.index, wish(data_set), jobs)
    assert not isinstance(error.value, CorruptSample)
    folder = data_set.folder / "other"
    made = make.make(data_set.index, make.Wish(data_set.data, folder, bad="skip", shard_bytes=TWO_RECORDS), jobs)
    assert made.left_out == 2 and (folder / "left_out.txt").read_text().split() == ["id4", "id5"]
    with pytest.raises(UserError, match=r"2 of 12 ids are not in the pack .*, e\.g\. id4"):
        store.open_store(folder, data_set.index)
    kept = json.loads(data_set.meta.read_text())
    del kept["id4"], kept["id5"]
    data_set.meta.write_text(json.dumps(kept))
    index = open_for(data_set.meta, folder)
    for row, packed in enumerate(rows(data_set, folder, index)):
        number = int(index[row].key[2:])
        assert packed.original_size == (300 + number, 200)


def test_a_missing_npz_stops_either_way(data_set):
    (data_set.data / "id4.npz").unlink()
    with pytest.raises(UserError, match=r"id4\.npz is missing"):
        make.make(data_set.index, wish(data_set, bad="skip"), 1)


def test_another_dtype_among_those_to_keep(data_set):
    npz_sets.write(data_set.data, "id6", npz_sets.latents_of(6, npz_sets.SIZES[0], np.float16))
    with pytest.raises(UserError, match=r"id6\.npz is float16, others are float32; give DTYPE"):
        make.make(data_set.index, wish(data_set), 1)
    make.make(data_set.index, make.Wish(data_set.data, data_set.folder / "lowered", "bfloat16"), 1)


def test_a_value_that_overflows_is_never_left_out(data_set):
    npz_sets.write(data_set.data, "id6", 1e6 * npz_sets.latents_of(6, npz_sets.SIZES[0]))
    with pytest.raises(UserError, match="'id6' reach .*more than float16 holds"):
        make.make(data_set.index, wish(data_set, dtype="float16", bad="skip"), 1)


def test_a_finished_pack_is_not_written_over(data_set):
    make.make(data_set.index, wish(data_set), 1)
    before = contents(data_set.folder / "pack")
    with pytest.raises(UserError, match="holds a finished pack"):
        make.make(data_set.index, wish(data_set, dtype="float16"), 1)
    assert contents(data_set.folder / "pack") == before


def test_one_packer_at_a_time(data_set):
    folder = data_set.folder / "pack"
    folder.mkdir()
    with make.one_at_a_time(folder), pytest.raises(UserError, match="another `make pack`"):
        make.make(data_set.index, wish(data_set), 1)


def test_places_are_kept_and_found_again(data_set, monkeypatch):
    folder = data_set.folder / "pack"
    pack = make.make(data_set.index, wish(data_set), 1)
    first = places.places(folder, pack, data_set.index)
    monkeypatch.setattr(places, "find", None)
    assert np.array_equal(places.places(folder, pack, data_set.index), first)
