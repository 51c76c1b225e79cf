"""Latents files: read as history left them, told apart where they are broken and where they are missing."""

import errno
import os
import random

import numpy as np
import pyarrow as pa
import pytest

from extensions.base.errors import UserError
from extensions.data import npz, store
from extensions.data.latents import CorruptSample
from tests.helpers import npz_sets

SIZE = (256, 192)


def write(folder, key="a", value=0.5, shape=(4, 24, 32), **more):
    npz_sets.write(folder, key, np.full(shape, value, more.pop("dtype", np.float32)), **more)
    return folder / f"{key}.npz"


def test_reads_one(tmp_path):
    write(tmp_path, "a.b", dtype=np.float16)
    read = npz.load(tmp_path, "a.b", *SIZE)
    assert read.latents.shape == (4, 24, 32) and read.latents.dtype == np.float16
    assert read.original_size == (300, 200) and read.crop == (3, 5)


def test_every_row_is_read_as_float32(data_set):
    opened = store.open_store(data_set.data, data_set.index, open_them=True)
    for row in range(len(data_set.index)):
        sample = data_set.index[row]
        read = opened.read(row, sample)
        assert np.array_equal(read.latents, npz_sets.latents_of(row, (sample.width, sample.height)))
        assert read.original_size == (300 + row, 200) and read.crop == (row, 5)


def test_files_are_closed(tmp_path):
    write(tmp_path)
    before = set(os.listdir("/proc/self/fd"))
    npz.load(tmp_path, "a", *SIZE)
    (tmp_path / "b.npz").write_bytes(b"PK no zip")
    with pytest.raises(CorruptSample):
        npz.load(tmp_path, "b", *SIZE)
    assert set(os.listdir("/proc/self/fd")) == before


def test_ids_are_listed_in_many_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "NAMES", 2)
    for key in "abcde":
        write(tmp_path, key)
    (tmp_path / "note.txt").touch()
    listed = list(store.present_ids(tmp_path))
    assert sorted(pa.concat_arrays(listed).to_pylist()) == list("abcde") and [len(each) for each in listed] == [
        2,
        2,
        1,
    ]


def test_ids_may_have_folders_and_links_lead_to_each_once(tmp_path):
    for name in ("a", "one/a", "one/two/b", ".hidden/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write((tmp_path / name).parent, name.rpartition("/")[2])
    (tmp_path / "one" / "round").symlink_to(tmp_path)
    (tmp_path / "far").mkdir()
    write(tmp_path / "far", "d")
    (tmp_path / "one" / "far").symlink_to(tmp_path / "far")
    below = {}
    listed = pa.concat_arrays(list(store.present_ids(tmp_path, below))).to_pylist()
    assert sorted(key.rpartition("/")[2] for key in listed) == ["a", "a", "b", "d"]
    assert {"a", "one/a", "one/two/b"} < set(listed) and {"one", "one/two"} < set(below)
    for key in listed:
        npz.load(tmp_path, key, *SIZE)


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-300]),
    "empty": lambda path: path.write_bytes(b""),
    "no zip": lambda path: path.write_bytes(b"x" * 100),
    "another format": lambda path: np.save(path.open("wb"), np.zeros(3)),
    "no key": lambda path: np.savez(path, latents=np.zeros((4, 24, 32))),
    "shape": lambda path: write(path.parent, shape=(4, 8, 8)),
    "nan": lambda path: write(path.parent, value=np.nan),
    "infinite": lambda path: write(path.parent, value=np.inf),
    "integers": lambda path: write(path.parent, dtype=np.int32, value=1),
    "short sizes": lambda path: write(path.parent, original=(3,)),
    "beyond float32": lambda path: write(path.parent, dtype=np.float64, value=1e39),
    "long doubles": lambda path: write(path.parent, dtype=np.longdouble),
    "complex": lambda path: write(path.parent, dtype=np.complex64),
    "a size of nothing": lambda path: write(path.parent, original=(0, 200)),
    "a negative size": lambda path: write(path.parent, original=(300, -200)),
    "a size beyond any": lambda path: write(path.parent, original=(10**12, 200)),
    "half a pixel": lambda path: write(path.parent, original=(300.5, 200)),
    "no number": lambda path: write(path.parent, original=(np.nan, 200)),
    "a text": lambda path: write(path.parent, original=("300", "200")),
    "a negative crop": lambda path: write(path.parent, crop=(-1, 5, 259, 197)),
    "a crop beyond any": lambda path: write(path.parent, crop=(3, 10**12, 259, 197)),
    "gigabytes of nothing": lambda path: np.savez_compressed(
        path, latents=np.zeros((4, 24, 32)), original_size=np.zeros(1 << 24), crop_ltrb=np.zeros(4)
    ),
    "latents of another bucket, larger": lambda path: write(path.parent, shape=(4, 512, 512)),
    "a short crop": lambda path: write(path.parent, crop=(3, 5)),
}


@pytest.mark.parametrize("kind", [np.int32, np.uint16, np.float64])
def test_sizes_are_whole_numbers_of_any_kind(tmp_path, kind):
    write(tmp_path, original=np.array((300, 200), kind), crop=np.array((3, 5, 259, 197), kind))
    read = npz.load(tmp_path, "a", *SIZE)
    assert (read.original_size, read.crop) == ((300, 200), (3, 5))


@pytest.mark.parametrize("damage", DAMAGE)
def test_corrupt_files_are_named_in_one_line(tmp_path, damage):
    DAMAGE[damage](write(tmp_path))
    with pytest.raises(CorruptSample, match=r"a\.npz") as error:
        npz.load(tmp_path, "a", *SIZE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_whatever_bytes_a_bad_disk_leaves(tmp_path, save):
    """Every damaged file reads whole or is told as corrupt: no other exception, whichever byte it hits."""
    latents_of = npz_sets.latents_of(1, (64, 64))
    npz_sets.write(tmp_path, "a", latents_of, save=save)
    path, draw, found = tmp_path / "a.npz", random.Random(1), 0
    good = path.read_bytes()
    for _ in range(600):
        broken = bytearray(good)
        for _ in range(draw.choice((1, 1, 8))):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        path.write_bytes(broken[: draw.choice((len(broken), len(broken), draw.randrange(len(broken))))])
        try:
            read = npz.load(tmp_path, "a", 64, 64).latents
        except CorruptSample as error:
            assert "\n" not in str(error)
            found += 1
        else:
            assert np.array_equal(read, latents_of), "zip's own checksum lets no wrong value pass"
    assert found > 200


def test_small_sets_are_opened_at_the_start_unless_told_not_to(data_set, monkeypatch):
    (data_set.data / "id7.npz").write_bytes(b"broken")
    store.open_store(data_set.data, data_set.index)
    with pytest.raises(CorruptSample, match=r"id7\.npz is corrupt"):
        store.open_store(data_set.data, data_set.index, open_them=True)
    monkeypatch.setattr(store, "OPEN_ALL", 11)
    store.open_store(data_set.data, data_set.index, open_them=True)


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.EMFILE, errno.ESTALE])
def test_a_file_that_is_not_there_is_not_corrupt(tmp_path, monkeypatch, code):
    monkeypatch.setattr(npz, "arrays_of", lambda _: failing(code))
    with pytest.raises(UserError, match=r"a\.npz (is missing|cannot be read)") as error:
        npz.load(tmp_path, "a", *SIZE)
    assert not isinstance(error.value, CorruptSample)


def test_a_bad_sector_is_corrupt(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "arrays_of", lambda _: failing(errno.EIO))
    with pytest.raises(CorruptSample, match=r"a\.npz is corrupt .*Input/output error"):
        npz.load(tmp_path, "a", *SIZE)


def failing(code):
    raise OSError(code, os.strerror(code))
