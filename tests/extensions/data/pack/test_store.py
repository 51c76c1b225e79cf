"""Reading a pack: what is wrong with it is told in one line, and corrupt and missing are told apart."""

import json
import os
import subprocess

import numpy as np
import pyarrow as pa
import pytest

from extensions.base.errors import UserError
from extensions.data import store
from extensions.data.index import checked, open_for
from extensions.data.latents import CorruptSample
from extensions.data.pack import header, make, places
from extensions.data.pack.store import PackedStore

TWO_RECORDS = 25_000  # bytes; of the largest bucket


@pytest.fixture
def pack(data_set):
    """The folder of a pack of some shards."""
    make.make(data_set.index, make.Wish(data_set.data, data_set.folder / "pack", shard_bytes=TWO_RECORDS), 1)
    return data_set.folder / "pack"


def shard_of(store, row) -> tuple:
    """(path, position of the record, its bytes) of a row."""
    shard, record = places.split(int(store.places[row]))
    size = store.shards.pack.layout(shard).record_bytes
    return store.shards.folder / store.shards.pack.shards[shard].file, record * size, size


def spoil(path, position):
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 4]))


def test_a_wrong_checksum_names_file_record_and_id(data_set, pack):
    store = PackedStore(pack, data_set.index)
    path, start, _ = shard_of(store, 6)
    spoil(path, start + 100)
    with pytest.raises(CorruptSample, match=r"256x192-\d+\.bin: record \d+ \('id6'\) .* its checksum") as error:
        store.read(6, data_set.index[6])
    assert "\n" not in str(error.value)
    store.read(9, data_set.index[9])


def test_a_shard_that_is_cut_while_training(data_set, pack):
    store = PackedStore(pack, data_set.index)
    path, start, size = shard_of(store, 6)
    os.truncate(path, start + size - 1)
    with pytest.raises(CorruptSample, match="'id6'.*cut short"):
        store.read(6, data_set.index[6])


def test_a_bad_sector(data_set, pack, monkeypatch):
    def failing(*_):
        raise OSError(5, os.strerror(5))

    store = PackedStore(pack, data_set.index)
    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(CorruptSample, match="'id6'.*Input/output error"):
        store.read(6, data_set.index[6])


def test_a_shard_that_goes_away_is_not_corrupt(data_set, pack):
    store = PackedStore(pack, data_set.index)
    shard_of(store, 6)[0].unlink()
    with pytest.raises(UserError, match=r"shard .*\.bin is missing") as error:
        store.read(6, data_set.index[6])
    assert not isinstance(error.value, CorruptSample)


def test_a_shard_missing_or_of_another_size_at_the_start(data_set, pack):
    path = sorted(pack.glob("*.bin"))[0]
    os.truncate(path, path.stat().st_size - 64)
    with pytest.raises(UserError, match=f"{path.name} has .* bytes instead of"):
        store.open_store(pack, data_set.index)
    path.unlink()
    with pytest.raises(UserError, match=f"shard .*{path.name} is missing"):
        store.open_store(pack, data_set.index)


def test_another_version(data_set, pack):
    content = json.loads((pack / "pack.json").read_text())
    (pack / "pack.json").write_text(json.dumps(content | {"version": 99}))
    with pytest.raises(UserError, match=r"pack\.json is of version 99, this trainer reads 2"):
        store.open_store(pack, data_set.index)


def test_a_pack_of_before_has_no_checksum_of_its_header_and_is_read(data_set, pack):
    content = json.loads((pack / "pack.json").read_text())
    whole = header.read(pack)
    del content["digest"]
    (pack / "pack.json").write_text(json.dumps(content | {"version": 1}))
    assert header.read(pack) == whole and store.open_store(pack, data_set.index, open_them=True)


@pytest.mark.parametrize(
    "change",
    [
        {"images": 11}, {"digest": ""}, {"digest": None}, {"buckets": []}, {"dtype": "float16"},
        {"version": 1, "images": -1}, {"version": 1, "images": 1e9}, {"more": 1}, {"version": 1, "left_out": "a"},
        {"version": 1, "keys_digest": "../../x"}, {"version": 1, "keys_digest": 7},
        {"version": 1, "keys_fingerprint": None},
        {"version": 1, "shards": [{"file": "a.bin", "bucket": 1.5, "records": 1}]},
    ],
)  # fmt: skip
def test_a_header_that_says_something_else(data_set, pack, change):
    content = json.loads((pack / "pack.json").read_text())
    if change.get("version") == 1:
        del content["digest"]
    (pack / "pack.json").write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=r"pack\.json is damaged"):
        store.open_store(pack, data_set.index)


@pytest.mark.parametrize("file", ["../x.bin", "/etc/passwd", "a/b.bin"])
def test_no_shard_lies_outside_of_its_folder(pack, file):
    content = json.loads((pack / "pack.json").read_text())
    del content["digest"]
    content["shards"][0]["file"] = file
    (pack / "pack.json").write_text(json.dumps(content | {"version": 1}))
    with pytest.raises(UserError, match="not in the folder"):
        header.read(pack)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 1}', '{"version": 1, "shards": 3}'])
def test_a_damaged_header(data_set, pack, text):
    (pack / "pack.json").write_text(text)
    with pytest.raises(UserError, match=r"pack\.json is damaged") as error:
        store.open_store(pack, data_set.index)
    assert "\n" not in str(error.value)


def test_damaged_keys(data_set, pack):
    os.truncate(pack / "keys.arrow", 300)
    with pytest.raises(UserError, match=r"keys\.arrow is damaged: its checksum is wrong"):
        store.open_store(pack, data_set.index)


def described(data_set, keys):
    entries = {key: {"train_resolution": list(size)} for key, size in keys.items()}
    data_set.meta.write_text(json.dumps(entries))
    return open_for(data_set.meta, None)


def test_a_key_that_is_not_in_the_pack(data_set, pack):
    index = described(data_set, {"id0": (256, 192), "new": (256, 192), "id1": (128, 128)})
    with pytest.raises(UserError, match=r"1 of 3 ids are not in the pack .*, e\.g\. new"):
        store.open_store(pack, index)


def test_another_index_of_the_same_pack(data_set, pack):
    """A part of the images in another order: each row still finds its own record."""
    sizes = {"id7": (128, 128), "id2": (192, 256), "id11": (192, 256)}
    index = described(data_set, sizes)
    opened = store.open_store(pack, index, open_them=True)
    assert [opened.read(row, index[row]).crop[0] for row in range(3)] == [7, 2, 11]
    assert len(list(pack.glob("rows-*.npy"))) == 1


def test_another_size_than_the_metadata_say(data_set, pack):
    index = described(data_set, {"id7": (256, 192)})
    with pytest.raises(CorruptSample, match="'id7' is not of its train_resolution, 256x192"):
        store.open_store(pack, index, open_them=True)


def test_no_more_files_are_open_than_allowed(data_set, pack):
    store = PackedStore(pack, data_set.index)
    assert len(store.shards.pack.shards) > 2
    store.shards.most = 2
    before = len(os.listdir("/proc/self/fd"))
    for row in [*range(12), *range(12)]:
        assert store.read(row, data_set.index[row]).crop[0] == row
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    store.shards.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_spoilt_map_of_rows_is_made_again(data_set, pack):
    first = PackedStore(pack, data_set.index).places.copy()
    next(pack.glob("rows-*.npy")).write_bytes(b"spoilt")
    assert np.array_equal(PackedStore(pack, data_set.index).places, first)


def test_a_pack_on_a_disk_that_is_read_only(data_set, pack):
    if subprocess.run(["mount", "--bind", str(pack), str(pack)], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(pack)], check=True)
        store = PackedStore(pack, data_set.index)
        assert store.read(5, data_set.index[5]).crop[0] == 5
        assert not list(pack.glob("rows-*"))
    finally:
        subprocess.run(["umount", "--lazy", str(pack)], check=True)  # the store still has its files open


def test_the_keys_of_a_pack_are_its_present_ids(pack):
    found = pa.concat_arrays(store.present_ids(pack))
    assert sorted(found.to_pylist()) == sorted(f"id{number}" for number in range(12))
    assert header.read(pack).images == 12


def test_the_index_finds_out_what_a_pack_lacks(data_set, pack):
    entries = json.loads(data_set.meta.read_text()) | {"new": {"train_resolution": [256, 192]}}
    data_set.meta.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"1 ids without latents in .*pack \(e\.g\. new\)"):
        open_for(data_set.meta, pack)
    index = open_for(data_set.meta, None)
    with pytest.raises(UserError, match=r"1 of 13 ids have no latents in .*pack, e\.g\. new; .*missing=skip"):
        open_for(index.path, pack)


def test_maps_of_rows_make_no_other_pack(data_set, pack):
    """They are written after a pack was found complete; four processes would look for its ids again, each start."""
    os.utime(pack / "pack.json", ns=(10**18, 10**18))
    index = open_for(data_set.meta, pack)
    PackedStore(pack, index)
    assert checked.is_known(index.path, index.keys_fingerprint, pack)
    (pack / "pack.json").touch()
    assert not checked.is_known(index.path, index.keys_fingerprint, pack)


def test_an_unfinished_pack_is_no_folder_of_latents(data_set):
    (data_set.folder / "begun" / "unfinished").mkdir(parents=True)
    with pytest.raises(UserError, match="begun holds an unfinished pack"):
        open_for(data_set.meta, data_set.folder / "begun")
