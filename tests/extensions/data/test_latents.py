"""Latents files: read as history left them, refused in one line where they are broken."""

import json

import numpy as np
import pytest

from extensions.data import index, latents
from extensions.errors import UserError


def write(folder, key, shape=(4, 24, 32), value=0.5):
    np.savez(
        folder / f"{key}.npz",
        latents=np.full(shape, value, np.float32),
        original_size=np.array([300, 200]),
        crop_ltrb=np.array([3, 5, 259, 197]),
    )


def described(folder, keys):
    entries = {key: {"train_resolution": [256, 192]} for key in keys}
    (folder / "meta.json").write_text(json.dumps(entries))
    return index.open_for(folder / "meta.json", folder)


def test_reads_one(tmp_path):
    write(tmp_path, "a.b")
    read = latents.read(tmp_path, "a.b", 256, 192)
    assert read.latents.shape == (4, 24, 32) and read.latents.dtype == np.float32
    assert read.original_size == (300, 200) and read.crop == (3, 5)


def test_a_small_set_is_read_whole_and_a_large_one_not(tmp_path, monkeypatch):
    for key in "abc":
        write(tmp_path, key)
    made = described(tmp_path, "abc")
    latents.require_readable(tmp_path, made)
    (tmp_path / "c.npz").write_bytes(b"")
    with pytest.raises(UserError, match="c.npz is corrupt"):
        latents.require_readable(tmp_path, made)
    monkeypatch.setattr(latents, "OPEN_ALL", 2)
    latents.require_readable(tmp_path, made)


def test_ids_are_listed_in_many_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "NAMES", 2)
    for key in "abcde":
        write(tmp_path, key)
    (tmp_path / "note.txt").touch()
    listed = latents.present_ids(tmp_path)
    assert sorted(listed.to_pylist()) == list("abcde") and listed.num_chunks == 3


@pytest.mark.parametrize("damage", ["cut", "empty", "no zip", "no key", "shape", "nan"])
def test_corrupt_files_are_named(tmp_path, damage):
    write(
        tmp_path,
        "a",
        value=np.nan if damage == "nan" else 1,
        shape=(4, 8, 8) if damage == "shape" else (4, 24, 32),
    )
    path = tmp_path / "a.npz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    elif damage in ("empty", "no zip"):
        path.write_bytes(b"" if damage == "empty" else b"x" * 100)
    elif damage == "no key":
        np.savez(path, latents=np.zeros((4, 24, 32)))
    with pytest.raises(UserError, match="a.npz") as error:
        latents.require_readable(tmp_path, described(tmp_path, "a"))
    assert "\n" not in str(error.value)
