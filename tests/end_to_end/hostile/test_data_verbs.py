"""The data verbs' command lines: what cannot be meant ends in one line, before anything is made."""

import json
import os

import pytest
from PIL import Image

from tests.helpers import npz_sets
from tests.helpers.hostile_verbs import refused, verb


@pytest.fixture
def images(tmp_path):
    """Two images with tags."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "ab":
        Image.new("RGB", (90, 60)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"of {name}")
    return folder


LATENTS = {
    "a bad word": (["--bad", "ignore"], "'ignore' is not one of 'stop', 'skip'"),
    "an unknown flag": (["--colour", "red"], "No such option"),
    "no number": (["--jobs", "two"], "Invalid value for '--jobs'"),
    "no processes": (["--jobs", "0"], "JOBS=0: give 1 or more"),
    "a colour": (["--background", "whit"], "BACKGROUND=whit: give an opaque colour"),
    "a side": (["--min_side", "-1"], "MIN_SIDE=-1"),
    "times": (["--max_enlarge", "nan"], "MAX_ENLARGE=nan"),
    "an encoding": (["--text_encoding", "utf-9"], "TEXT_ENCODING=utf-9 is no encoding"),
    "one suffix": (["--tags", "txt", "--caption", ".txt"], "TAGS and CAPTION are both .txt"),
    "a path as suffix": (["--tags", "../txt"], "TAGS=../txt: give the suffix"),
    "ids": (["--ids", "stem"], "'stem' is not one of 'name', 'path'"),
    "texts of no file": (["--texts", "no.json"], "no such metadata file"),
}


@pytest.mark.parametrize("case", LATENTS)
def test_latents(tmp_path, images, standins, case):
    words, said = LATENTS[case]
    line = refused(tmp_path, "make.encode", images, tmp_path / "out", standins["sd2"], *words, made={"out"})
    assert said in line


@pytest.mark.parametrize("out", ["images", "images/new", "link/new"])
def test_latents_among_the_images(tmp_path, images, standins, out):
    (tmp_path / "link").symlink_to(images)
    assert "lies in the folder of images" in refused(tmp_path, "make.encode", images, tmp_path / out, standins["sd2"])


def test_a_device_or_pipe_in_place_of_an_image_or_text(tmp_path, images, standins):
    for name in ("c.png", "a.caption"):
        os.mkfifo(images / name)
    (images / "d.png").symlink_to("/dev/zero")
    line = refused(tmp_path, "make.encode", images, tmp_path / "out", standins["sd2"], made={"out"})
    assert "3 such, all in" in line and "a pipe or a device" in line
    listed = [json.loads(each) for each in (tmp_path / "out" / "bad_texts.jsonl").read_text().splitlines()]
    assert sorted(each["path"] for each in listed) == ["a.png", "c.png", "d.png"]


@pytest.fixture
def data_set(tmp_path):
    return npz_sets.make(tmp_path, 3)


@pytest.mark.parametrize("size", ["nan", "inf", "-inf", "-1", "0", "1e-10", "four"])
def test_shards_of_no_size(tmp_path, data_set, size):
    line = refused(tmp_path, "pack", *data_set, tmp_path / "pack", f"--shard-gb={size}")
    assert "SHARD_GB=" in line or "Invalid value for '--shard-gb'" in line


@pytest.mark.parametrize("out", ["latents", "latents/pack"])
def test_what_is_written_among_the_latents(tmp_path, data_set, out):
    assert "lies in the folder of latents" in refused(tmp_path, "pack", *data_set, tmp_path / out)
    words = ["--out", tmp_path / "latents" / "report"]
    said = refused(tmp_path, "make.check", *data_set, *words, made={"meta_lat.json"})
    assert "lies in the folder of latents" in said


@pytest.mark.parametrize("verb_of", ["index", "make.check", "pack"])
def test_metadata_that_are_not_there_make_no_folder(tmp_path, data_set, verb_of):
    words = {"index": ["--data"], "make.check": [], "pack": []}[verb_of] + [data_set[1]]
    out = [tmp_path / "pack"] if verb_of == "pack" else []
    line = refused(tmp_path, verb_of, tmp_path / "typo" / "meta.json", *words, *out)
    assert "no such metadata file" in line
    assert "no such folder of latents" in refused(tmp_path, "index", data_set[0], "--data", tmp_path / "typo")


def test_a_pipe_in_place_of_latents_is_not_waited_for(tmp_path, data_set):
    meta, data = data_set
    (data / "id1.npz").unlink()
    os.mkfifo(data / "id1.npz")
    done = verb("make.check", meta, data, "--out", tmp_path / "report")
    assert done.returncode == 1 and "1 corrupt" in done.stdout
    assert "id1.npz" in refused(tmp_path, "pack", meta, data, tmp_path / "pack", made={"meta_lat.json", "pack"})
