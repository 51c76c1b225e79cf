"""A folder of photographs as strangers have them, through every data verb: latents, index, check, pack."""

import json

import numpy as np
import pytest
from PIL import Image

from extensions.data.index import open_for
from extensions.data.store import open_store
from tests.helpers.hostile_verbs import refused, verb


@pytest.fixture
def photographs(tmp_path):
    """The same names in two folders; tags as a Windows editor writes them."""
    folder = tmp_path / "images"
    for number, name in enumerate(("one/a", "two/a", "two/b")):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (60 * number, 0, 0)).save(path)
        path.with_suffix(".txt").write_bytes(b"\xef\xbb\xbf" + name.encode())
    return folder


@pytest.mark.slow
def test_the_same_name_in_two_folders(tmp_path, photographs, standins):
    words = [photographs, tmp_path / "out", standins["sd2"]]
    line = refused(tmp_path, "make.encode", *words, made={"out"})
    assert "one/a.png and two/a.png have the same id 'a'" in line and "IDS=path" in line
    assert (tmp_path / "out" / "clashes.txt").read_text() == "a\tone/a.png\na\ttwo/a.png\n"
    done = verb("make.encode", *words, "--ids", "path", "--jobs", "2")
    assert done.returncode == 0 and "3 images" in done.stdout, done.stderr
    meta, data = tmp_path / "out" / "meta_lat.json", tmp_path / "out" / "latents"
    entries = json.loads(meta.read_text())
    assert {key: each["tags"] for key, each in entries.items()} == {key: key for key in ("one/a", "two/a", "two/b")}
    assert verb("make.check", meta, data, "--out", tmp_path / "report").returncode == 0
    done = verb("pack", meta, data, tmp_path / "pack")
    assert done.returncode == 0, done.stderr
    index = open_for(meta, data)
    plain, packed = open_store(data, index), open_store(tmp_path / "pack", open_for(meta, tmp_path / "pack"))
    for row in range(3):
        assert np.array_equal(plain.read(row, index[row]).latents, packed.read(row, index[row]).latents)
    (data / "two" / "b.npz").write_bytes(b"broken")
    assert verb("make.check", meta, data, "--out", tmp_path / "again").returncode == 1
    assert (tmp_path / "again" / "corrupt.txt").read_text() == "two/b\n"
    assert verb("index", meta, "--data", data, "--exclude", tmp_path / "again" / "corrupt.txt").returncode == 0
    assert [open_for(meta, data)[row].key for row in range(2)] == [key for key in entries if key != "two/b"]


@pytest.mark.slow
def test_texts_of_upstreams_metadata_and_none_at_all(tmp_path, photographs, standins):
    (photographs / "one" / "a.png").unlink()
    texts = tmp_path / "meta.json"
    words = [photographs, tmp_path / "out", standins["sd2"], "--texts", texts]
    texts.write_text(json.dumps({"/elsewhere/x.png": {"tags": "x"}}))
    line = refused(tmp_path, "make.encode", *words, made={"out"})
    assert "no entry of any of the 2 images" in line and not list((tmp_path / "out" / "latents").iterdir())
    texts.write_text(json.dumps({"/elsewhere/a.png": {"tags": "an a"}, "/elsewhere/x.png": {"tags": "x"}}))
    done = verb("make.encode", *words)
    assert done.returncode == 0 and "1 of 2 images have no text" in done.stdout, done.stderr
    assert json.loads((tmp_path / "out" / "meta_lat.json").read_text())["a"]["tags"] == "an a"
    for path in photographs.rglob("*.txt"):
        path.unlink()
    line = refused(tmp_path, "make.encode", *words[:3], made={"out/prepared"})
    assert "has texts, which would be lost" in line
    done = verb("make.encode", photographs, tmp_path / "new", standins["sd2"])
    assert done.returncode == 0 and "WARNING: none of the 2 images has a text" in done.stderr
