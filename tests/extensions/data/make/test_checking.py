"""All texts are read before an image is encoded, bad ones all listed, and no set loses its texts."""

import json

import pytest
from PIL import Image

from extensions.base.errors import UserError
from extensions.data.make import checking, images
from extensions.data.make.sidecars import Sidecars
from extensions.data.make.wish import WORK, Wish


@pytest.fixture
def wish(tmp_path):
    """Three images, two with tags."""
    for name in "abc":
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (64, 64)).save(tmp_path / "images" / f"{name}.png")
    for name in "ab":
        (tmp_path / "images" / f"{name}.txt").write_text(f"of {name}")
    (tmp_path / "out" / WORK).mkdir(parents=True)
    return lambda **more: Wish(tmp_path / "images", tmp_path / "out", tmp_path / "no.model", **more)


def checked(asked):
    found = images.find(asked.images)
    without = checking.check(asked, found)
    known = {}
    for part, _ in checking.parts(asked, found):
        known |= dict(zip(part.ids, checking.kept(part), strict=True))
    return without, known


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_texts_are_kept_and_images_without_counted(wish, capsys, jobs):
    without, known = checked(wish(jobs=jobs))
    assert without == 1 and {key: said.tags for key, said in known.items()} == {"a": "of a", "b": "of b", "c": None}
    assert "1 of 3 images have no text" in capsys.readouterr().out


def test_every_bad_text_is_listed_before_it_stops(wish):
    asked = wish()
    for name in "ac":
        (asked.images / f"{name}.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match=r"\.txt cannot be read .*; 2 such, all in .*bad_texts\.jsonl; BAD=skip"):
        checked(asked)
    rows = [json.loads(line) for line in (asked.out / "bad_texts.jsonl").read_text().splitlines()]
    assert sorted(each["path"] for each in rows) == ["a.png", "c.png"]
    assert {each["kind"] for each in rows} == {"text cannot be read"}
    without, known = checked(wish(bad="skip"))
    assert without == 2 and [bool(known[key].kind) for key in "abc"] == [True, False, True]
    assert checked(wish(sidecars=Sidecars.asked(encoding="latin-1")))[1]["c"].tags == "é"


def test_none_with_a_text_is_said_loudly(wish, capsys):
    asked = wish(sidecars=Sidecars.asked("wd", "cap"))
    assert checked(asked)[0] == 3
    assert "WARNING: none of the 3 images has a text beside them (.wd and .cap)" in capsys.readouterr().err


def test_a_set_does_not_lose_its_texts(wish):
    asked = wish(sidecars=Sidecars.asked("wd", "cap"))
    (asked.out / "meta_lat.json").write_text('{"a": {\n "tags": "",\n "train_resolution": [64, 64]}}')
    assert checked(asked)[0] == 3
    (asked.out / "meta_lat.json").write_text('{"a": {\n "tags": "cat",\n "train_resolution": [64, 64]}}')
    with pytest.raises(UserError, match=r"none of the 3 images has a text .*, but .* has texts, which would be lost"):
        checked(asked)


@pytest.mark.parametrize("at", range(120, 141))
def test_texts_are_found_across_blocks(tmp_path, monkeypatch, at):
    monkeypatch.setattr(checking, "BLOCK", 128)
    said = '"caption": "A cat."'
    (tmp_path / "meta.json").write_text("x" * (at - len(said)) + said + "x" * 300)
    assert checking.had_texts(tmp_path / "meta.json")
    (tmp_path / "meta.json").write_text("x" * at + '"caption": ""' + r'"\"tags\": \"x"' * 30)
    assert not checking.had_texts(tmp_path / "meta.json") and not checking.had_texts(tmp_path / "none")
