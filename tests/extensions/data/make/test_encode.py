"""From a folder of photographs to latents and metadata, over processes, past kills and bad images."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.data.buckets import SD2_AREA, historical
from extensions.data.index import open_for
from extensions.data.make import encode, prepare
from extensions.data.make.sidecars import Sidecars
from tests.helpers.encoding_cases import SIZES, read, wish


def test_images_become_latents_and_metadata(photographs, standins, fast):
    asked = wish(photographs, standins)
    assert encode.encode(asked) == (4, 0)
    entries = read(asked.out)
    rule = historical(SD2_AREA)
    sizes = {f"p.{number}": list(rule.bucket(size)) for number, size in enumerate(SIZES)}
    assert {key: entry["train_resolution"] for key, entry in entries.items()} == sizes
    assert entries["p.0"]["tags"] == "1cat, sitting" and entries["p.0"]["caption"] == "A cat."
    assert entries["p.1"]["tags"] == "日本" and "caption" not in entries["p.1"] and "tags" not in entries["p.2"]
    for number, size in enumerate(SIZES):
        width, height = sizes[f"p.{number}"]
        with np.load(asked.out / "latents" / f"p.{number}.npz") as arrays:
            assert arrays["latents"].shape == (4, height // 8, width // 8) and arrays["latents"].dtype == np.float32
            assert tuple(arrays["original_size"]) == size
    assert len(open_for(asked.out / "meta_lat.json", asked.out / "latents")) == 4
    assert not (asked.out / "left_out.txt").read_text()


def test_texts_of_a_metadata_file(photographs, standins, fast):
    texts = photographs.parent / "texts.json"
    texts.write_text(json.dumps({"p.3": {"tags": "dog", "caption": "", "train_resolution": [64, 64]}}))
    asked = wish(photographs, standins, texts=texts)
    encode.encode(asked)
    entries = read(asked.out)
    assert entries["p.3"]["tags"] == "dog" and "caption" not in entries["p.3"] and "tags" not in entries["p.0"]
    assert entries["p.3"]["train_resolution"] != [64, 64]


def test_other_sidecars(photographs, standins, fast):
    (photographs / "p.2.wd").write_text("other")
    asked = wish(photographs, standins, sidecars=Sidecars(tags=".wd", caption=".txt"))
    encode.encode(asked)
    assert read(asked.out)["p.2"]["tags"] == "other" and read(asked.out)["p.0"]["caption"] == "1cat, sitting"


def test_a_second_call_encodes_what_is_new_or_changed(photographs, standins, fast):
    asked = wish(photographs, standins)
    encode.encode(asked)
    first = (asked.out / "meta_lat.json").read_bytes()
    encode.encode(asked)
    assert len(fast) == 4 and (asked.out / "meta_lat.json").read_bytes() == first
    Image.new("RGB", (70, 70)).save(photographs / "p.2.jpg")
    Image.new("RGB", (70, 70)).save(photographs / "new.webp")
    (photographs / "p.1.txt").write_text("other tags")
    encode.encode(asked)
    assert len(fast) == 6 and read(asked.out)["p.1"]["tags"] == "other tags" and len(read(asked.out)) == 5


KILLED = """
import os, signal, sys
import numpy as np
from extensions.data.make import encode, prepare
plain, calls = prepare.Ledger.add, []
def add(self, key, entry):
    plain(self, key, entry)
    calls.append(key)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
prepare.Ledger.add = add
encode.encode_one = lambda model, jobs, pixels: np.zeros((1, 4, pixels.shape[2] // 8, pixels.shape[3] // 8))
encode.app(sys.argv[1:])
"""


def test_a_call_that_was_killed_goes_on_where_it_was(photographs, standins, fast):
    asked = wish(photographs, standins)
    words = [str(asked.images), str(asked.out), str(asked.model)]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL and not (asked.out / "meta_lat.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in (asked.out / "latents").glob("*.npz")}
    assert len(kept) == 2
    assert encode.encode(asked) == (4, 0) and len(fast) == 2
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list((asked.out / "latents").glob("*.npz"))) == 4


@pytest.mark.slow
def test_processes_write_what_one_writes(photographs, standins):
    one, two = (encode.Wish(photographs, photographs.parent / str(n), standins["sd2"], jobs=n) for n in (1, 2))
    for asked in (one, two):
        encode.encode(asked)
    assert (one.out / "meta_lat.json").read_bytes() == (two.out / "meta_lat.json").read_bytes()
    for path in (one.out / "latents").iterdir():
        with np.load(path) as first, np.load(two.out / "latents" / path.name) as second:
            assert all(np.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_a_bad_image_stops_or_is_left_out(photographs, standins, fast):
    (photographs / "broken.png").write_bytes((photographs / "p.1.png").read_bytes()[:200])
    asked = wish(photographs, standins)
    with pytest.raises(UserError, match=r"cannot read the image .*broken\.png.*BAD=skip") as error:
        encode.encode(asked)
    assert not isinstance(error.value, prepare.BadImage) and not (asked.out / "meta_lat.json").exists()
    assert encode.encode(wish(photographs, standins, bad="skip")) == (4, 1)
    assert (asked.out / "left_out.txt").read_text() == "broken\n" and "broken" not in read(asked.out)


def test_latents_that_are_not_finite(photographs, standins, monkeypatch):
    monkeypatch.setattr(encode, "encode_one", lambda *_: np.full((1, 4, 8, 8), np.nan))
    with pytest.raises(UserError, match="hold NaN or infinity"):
        encode.encode(wish(photographs, standins))


def test_what_cannot_work_is_one_line(photographs, standins, fast, tmp_path):
    with pytest.raises(UserError, match="no such folder of images"):
        encode.encode(encode.Wish(tmp_path / "none", tmp_path / "out", standins["sd2"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        encode.encode(encode.Wish(tmp_path / "empty", tmp_path / "out", standins["sd2"]))
    with pytest.raises(UserError, match="no such checkpoint"):
        encode.encode(encode.Wish(photographs, tmp_path / "out", tmp_path / "none"))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "meta_lat.json").write_text("{}")
    with pytest.raises(UserError, match="was not written by `make latents`"):
        encode.encode(encode.Wish(photographs, tmp_path / "theirs", standins["sd2"]))
    assert (tmp_path / "theirs" / "meta_lat.json").read_text() == "{}"


def test_an_id_twice(photographs, standins, fast):
    Image.new("RGB", (64, 64)).save(photographs / "below" / "p.0.png")
    with pytest.raises(UserError, match=r"p\.0\..* and .*p\.0\..* have the same id 'p\.0'"):
        encode.encode(wish(photographs, standins))


def test_texts_and_names_in_no_known_encoding(photographs, standins, fast):
    (photographs / "p.1.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"p\.1\.txt cannot be read .*UTF-8"):
        encode.encode(wish(photographs, standins))
    os.rename(photographs / "p.2.jpg", os.fsencode(photographs) + b"/\xff.jpg")
    with pytest.raises(UserError, match="is not UTF-8; rename it"):
        encode.encode(wish(photographs, standins))


def test_a_full_disk(photographs, standins, fast, small_disk):
    asked = encode.Wish(photographs, small_disk / "out", standins["sd2"])
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        encode.encode(asked)
    before = len(fast)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert encode.encode(asked) == (4, 0) and len(fast) - before <= 4


@pytest.mark.disk_size("8m")
def test_a_disk_that_is_full_when_all_are_encoded(photographs, standins, fast, small_disk, monkeypatch):
    asked, plain = encode.Wish(photographs, small_disk / "out", standins["sd2"]), encode.join

    def join(*words):
        (small_disk / "filler").write_bytes(b"x" * shutil.disk_usage(small_disk).free)
        return plain(*words)

    monkeypatch.setattr(encode, "join", join)
    with pytest.raises(
        UserError, match=r"out cannot be written \(No space left on device\); make room, then"
    ) as error:
        encode.encode(asked)
    assert "\n" not in str(error.value) and not (asked.out / "meta_lat.json").exists()
    (small_disk / "filler").unlink()
    monkeypatch.setattr(encode, "join", plain)
    before = len(fast)
    assert encode.encode(asked) == (4, 0) and len(fast) == before, "nothing is encoded again"
