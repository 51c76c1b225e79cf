"""Which images are asked about: held out or of a set of their own, never one that is trained on."""

import argparse
import json

import numpy as np
import pytest

from extensions.base.errors import UserError
from extensions.data import index
from extensions.evaluation import sets


@pytest.fixture
def data(tmp_path):
    """Folders with metadata and latents of ids, by name."""

    def make(name: str, keys: str) -> dict:
        folder = tmp_path / name
        folder.mkdir()
        entry = {"caption": "x", "tags": "y", "train_resolution": [64, 64]}
        (folder / "meta.json").write_text(json.dumps({key: entry for key in keys}))  # noqa: C420
        for key in keys:
            latents = np.full((4, 8, 8), ord(key), np.float32)
            np.savez(folder / f"{key}.npz", latents=latents, original_size=[64, 64], crop_ltrb=[0, 0, 64, 64])
        return {"json": folder / "meta.json", "folder": folder}

    return make


def args_of(train, **given):
    none = dict.fromkeys(("validation_share", "validation_count", "validation_json", "validation_data_dir"))
    more = {"train_data_dir": str(train["folder"]), "validation_seed": 0, "caption_dropout_rate": 0.0}
    return argparse.Namespace(**none | more | {"caption_separator": ","} | given)


def opened(made):
    return index.open_for(made["json"], made["folder"])


def test_held_out_by_count_and_beside(data):
    train = data("train", "abcdefghij")
    rows = sets.of_share(opened(train), args_of(train, validation_count=4))
    assert len(rows.held) == 4 and list(rows.out) == list(rows.held)
    assert sorted([*rows.held, *rows.beside]) == list(range(10))


def test_nothing_to_hold_out_names_the_flag(data):
    train = data("train", "abcde")
    with pytest.raises(UserError, match=r"--validation_share=0\.0 holds out none of 5 images"):
        sets.of_share(opened(train), args_of(train, validation_share=0.0))
    with pytest.raises(UserError, match=r"--validation_count=4 holds out 4 of 5 images, more than half"):
        sets.of_share(opened(train), args_of(train, validation_count=4))


def test_a_set_of_its_own(data):
    train, own = data("train", "abcde"), data("own", "xyz")
    args = args_of(train, validation_json=own["json"], validation_data_dir=own["folder"])
    rows = sets.of_own(opened(train), args)
    assert len(rows.out) == 0 and sorted(rows.held) == [0, 1, 2] and len(rows.beside) == 5
    found = sets.images(rows.index, rows.folder, rows.held, args)
    assert {image.sample.key for image in found} == set("xyz")
    for image in found:
        assert (image.latents.latents == ord(image.sample.key)).all() and image.texts["tags"] == "y"


def test_a_set_that_overlaps_says_by_how_much(data):
    train, own = data("train", "abcdef"), data("own", "bdfx")
    args = args_of(train, validation_json=own["json"], validation_data_dir=own["folder"])
    with pytest.raises(UserError, match=r"3 of its 4 images are in --in_json, too: [bdf], [bdf], [bdf]; take"):
        sets.of_own(opened(train), args)


def test_a_corrupt_image_is_one_line(data):
    train = data("train", "abcdef")
    (train["folder"] / "a.npz").write_bytes(b"PK")
    made, args = opened(train), args_of(train)
    row = next(row for row in range(6) if made[row].key == "a")
    with pytest.raises(UserError, match="^validation: .*a.npz.*leave it out of the set"):
        sets.images(made, train["folder"], [row], args)
