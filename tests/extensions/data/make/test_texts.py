"""Texts of a metadata file find their images, however its keys are written; nothing is matched by halves."""

import json
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from extensions.base.errors import UserError
from extensions.data.index.build import build
from extensions.data.index.layout import index_of
from extensions.data.index.policies import Policies
from extensions.data.make import texts

NFC, NFD = (unicodedata.normalize(form, "é日") for form in ("NFC", "NFD"))


def found(tmp_path, entries, ids, kind="name", suffix="json"):
    """[(tags, caption), …] of the ids."""
    path = tmp_path / f"texts.{suffix}"
    path.write_text("\n".join(map(json.dumps, entries)) if suffix == "jsonl" else json.dumps(entries))
    batches, wanted = texts.read(path, tmp_path, kind), pa.array(ids, pa.string())
    made = texts.matched(path, batches, wanted, kind, tmp_path / "images")
    assert made.without().tolist() == [not any(pair) for pair in made.of(np.arange(len(ids)))]
    return made.of(np.arange(len(ids)))


def tagged(*keys):
    return {key: {"tags": f"of {number}", "caption": "c"} for number, key in enumerate(keys)}


@pytest.mark.parametrize(
    ("key", "kind", "name"),
    [
        ("a", "name", "a"),
        ("a.jpg", "name", "a"),
        ("a.JPG", "name", "a"),
        ("/data/of/another/a.png", "name", "a"),
        ("C:\\photos\\a.webp", "name", "a"),
        ("sub/a", "name", "a"),
        ("a.b", "name", "a.b"),
        ("a.b.png", "name", "a.b"),
        (NFC, "name", NFD),
        (NFD, "name", NFC),
        (f"/x/{NFC}.jpg", "name", NFD),
        ("sub/a", "path", "sub/a"),
        ("sub/a.jpg", "path", "sub/a"),
        ("{}/sub/a.jpg", "path", "sub/a"),
        (f"{{}}/sub/{NFC}.jpg", "path", f"sub/{NFD}"),
    ],
)
def test_a_key_finds_its_image(tmp_path, key, kind, name):
    key = key.format(tmp_path / "images")
    assert found(tmp_path, tagged("other", key), ["none", name], kind) == [("", ""), ("of 1", "c")]


def test_what_stands_as_it_is_comes_first(tmp_path):
    entries = tagged("a.jpg", "a", "x/a.png", "a.png.jpg")
    assert found(tmp_path, entries, ["a", "a.jpg", "a.png"]) == [("of 1", "c"), ("of 0", "c"), ("of 3", "c")]


def test_several_entries_for_one_image(tmp_path):
    with pytest.raises(UserError, match=r"several entries for the image 'a', which do not say the same \(1 images"):
        found(tmp_path, tagged("x/a.jpg", "y/a.jpg"), ["a"])
    same = {"x/a.jpg": {"tags": "t"}, "y/a.jpg": {"tags": "t"}}
    assert found(tmp_path, same, ["a"]) == [("t", "")]
    (tmp_path / "images" / "sub").mkdir(parents=True)
    assert found(tmp_path, tagged("x/a.jpg", "y/b.jpg", "z/b.jpg"), ["a", "c"])[0] == ("of 0", "c"), "b is no image"


def test_no_entry_at_all_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"no entry of any of the 2 images .* keys are as 'x', the images' ids as 'a'"
    ):
        found(tmp_path, tagged("x", "y"), ["a", "b"])


def test_entries_that_an_index_would_leave_out(tmp_path):
    """No size, as before buckets are made; latents that are missing; a list of corrupt ones."""
    path = tmp_path / "texts.json"
    path.write_text(json.dumps({key: {"tags": key, "train_resolution": [64, 64]} for key in "abc"}))
    (tmp_path / "corrupt.txt").write_text("b\n")
    build([path], index_of(path), None, Policies(), [tmp_path / "corrupt.txt"])
    ids = pa.array(["a", "b", "c"])
    for given in (path, index_of(path)):
        made = texts.matched(given, texts.read(given, tmp_path / "work"), ids, "name", tmp_path)
        assert [tags for tags, _ in made.of(np.arange(3))] == ["a", "b", "c"]
    path.unlink()
    given = index_of(path)
    made = texts.matched(given, texts.read(given, tmp_path / "work"), ids, "name", tmp_path)
    assert [tags for tags, _ in made.of(np.arange(3))] == ["a", "", "c"], "the index is all that is left"


def test_upstreams_jsonl(tmp_path):
    lines = [{"image_path": "/x/a.jpg", "caption": "of a"}, {"image_path": "b.png", "tags": "of b"}]
    assert found(tmp_path, lines, ["b", "a"], suffix="jsonl") == [("of b", ""), ("", "of a")]


@pytest.mark.parametrize("path", ["sub/a.jpg", "{}/sub/a.jpg", "sub\\a.jpg", "sub/a.JPG"])
def test_upstreams_jsonl_with_ids_that_are_paths(tmp_path, path):
    """Each of three images that are all called a has its own text."""
    paths = ["a.jpg", "other/a.jpg", path.format(tmp_path / "images")]
    lines = [{"image_path": each, "caption": each} for each in paths]
    said = found(tmp_path, lines, ["sub/a", "a", "other/a"], "path", "jsonl")
    assert [caption for _, caption in said] == [paths[2], "a.jpg", "other/a.jpg"]
    with pytest.raises(UserError, match=r"several entries for the image 'a', which do not say the same \(1 images"):
        found(tmp_path, lines, ["b", "a"], suffix="jsonl")


def test_what_is_no_metadata(tmp_path):
    (tmp_path / "folder.json").mkdir()
    for name in ("none.json", "folder.json"):
        with pytest.raises(UserError, match="no such metadata file"):
            texts.read(tmp_path / name, tmp_path)


def test_many_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("extensions.data.index.parts.ROWS", 7)
    keys = [f"/x/{number}.jpg" for number in range(40)]
    ids = [str(number) for number in reversed(range(45))]
    said = found(tmp_path, tagged(*keys), ids)
    assert said == [(f"of {key}", "c") if int(key) < 40 else ("", "") for key in ids]
