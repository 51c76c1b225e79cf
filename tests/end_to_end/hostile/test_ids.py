"""Ids of strangers' hands: line breaks, terminal escapes, ways out of the folder."""

import json

import numpy as np
import pytest

from extensions.data.index import Index
from extensions.data.index.layout import index_of
from tests.helpers import npz_sets
from tests.helpers.hostile_verbs import verb

HOSTILE = ["a\nb", "a\rb", "\x1b[2Ja", '"a"', "\ufeffa", "a\u2028b", "-a", "$(touch x)", "é", "e\u0301"]


def made(folder, keys, bad=()):
    """A set of these ids; the npz of `bad` are damaged."""
    data = folder / "latents"
    data.mkdir(exist_ok=True)
    for number, key in enumerate(keys):
        npz_sets.write(data, key, npz_sets.latents_of(number, (64, 64)))
        if key in bad:
            (data / f"{key}.npz").write_bytes(b"broken")
    meta = folder / "meta.json"
    meta.write_text(json.dumps({key: {"tags": "t", "train_resolution": [64, 64]} for key in keys}))
    return meta, data


def test_a_list_leaves_out_what_is_bad_and_nothing_else(tmp_path):
    good = ["a", "b", "[2Ja", "a b"]
    meta, data = made(tmp_path, [*good, *HOSTILE], bad=HOSTILE)
    done = verb("make.check", meta, data, "--out", tmp_path / "out")
    assert done.returncode == 1 and "10 corrupt" in done.stdout and "\x1b" not in done.stdout + done.stderr
    done = verb("index", meta, "--data", data, "--exclude", tmp_path / "out" / "corrupt.txt")
    assert done.returncode == 0 and "not in the metadata" not in done.stdout, done.stderr
    index = Index(index_of(meta))
    assert [index[row].key for row in range(len(index))] == good


def test_the_index_lists_what_it_found_so_that_it_comes_back(tmp_path):
    meta, data = made(tmp_path, ["a", "b", *HOSTILE])
    for key in HOSTILE:
        (data / f"{key}.npz").unlink()
    refused = verb("index", meta, "--data", data)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and refused.stderr[:-1].isprintable()
    listed = tmp_path / "meta.json.index.missing.txt"
    assert verb("index", meta, "--data", data, "--exclude", listed).returncode == 0
    assert len(Index(index_of(meta))) == 2


@pytest.mark.parametrize("key", ["../outside", "/{}/outside", "a/../../outside", "./../outside"])
def test_no_verb_reads_outside_the_folder(tmp_path, key):
    key = key.format(str(tmp_path).lstrip("/"))
    meta, data = made(tmp_path, ["a"])
    npz_sets.write(tmp_path, "outside", np.zeros((4, 8, 8), np.float32))
    meta.write_text(json.dumps({name: {"tags": "t", "train_resolution": [64, 64]} for name in ("a", key)}))
    done = verb("make.check", meta, data, "--out", tmp_path / "out")
    assert done.returncode == 1 and "1 missing" in done.stdout
    bad = json.loads((tmp_path / "out" / "report.json").read_text())["bad"]
    assert bad[0]["id"] == key and "is no name of a file below" in bad[0]["reason"]
    for words in (("index", meta, "--data", data), ("pack", meta, data, tmp_path / "pack")):
        done = verb(*words)
        assert done.returncode == 2 and done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
        assert "1 ids without latents" in done.stderr or "1 of 2 ids have no latents" in done.stderr
