"""Several sets are read as one: rows, buckets, latents, and what tells a mixture from another."""

import json
import pickle

import pytest

from extensions.base.errors import UserError
from extensions.data import index, store
from tests.helpers import npz_sets


@pytest.fixture
def made(tmp_path):
    """(path, function that writes it): two sets, of which the second has one bucket of its own."""
    for name, count in (("a", 7), ("b", 4)):
        npz_sets.make(tmp_path / name, count)
    data = tmp_path / "b" / "latents"
    npz_sets.write(data, "own", npz_sets.latents_of(50, (64, 320)))
    meta = tmp_path / "b" / "meta_lat.json"
    entries = json.loads(meta.read_text())
    entries = {f"b{key}": each for key, each in entries.items()} | {
        "own": {"tags": "x", "caption": "", "train_resolution": [64, 320]}
    }
    for key in list(entries)[:-1]:
        (data / f"{key[1:]}.npz").rename(data / f"{key}.npz")
    meta.write_text(json.dumps(entries))

    def write(**more):
        rows = [
            {"name": name, "in_json": f"{name}/meta_lat.json", "train_data_dir": f"{name}/latents"}
            | more.get(name, {})
            for name in ("a", "b")
        ]
        text = "".join("[[source]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in row.items()) for row in rows)
        (tmp_path / "mix.toml").write_text(text)
        return tmp_path / "mix.toml"

    return write


def test_rows_buckets_ids_and_latents_are_those_of_the_sources(made, tmp_path):
    joined = index.open_for(made(), None)
    alone = [index.open_for(tmp_path / name / "meta_lat.json", tmp_path / name / "latents") for name in "ab"]
    samples = [one[row] for one in alone for row in range(len(one))]
    assert len(joined) == 12 and [joined[row] for row in range(12)] == samples
    assert [joined.buckets[joined.bucket[row]] for row in range(12)] == [(s.width, s.height) for s in samples]
    assert [joined.source_of(row) for row in (0, 6, 7, 11)] == ["a", "a", "b", "b"]
    assert [key for column in joined.keys() for key in column.to_pylist()] == [s.key for s in samples]
    assert joined.rows_of(["own", "id0", "none", "bid0"]) == {"own": 11, "id0": 0, "bid0": 7}
    read = store.open_store(tmp_path, joined, open_them=True)
    for row, sample in enumerate(samples):
        assert read.read(row, sample).latents.shape[1:] == (sample.height // 8, sample.width // 8)
    assert [list(side) for side in joined.sizes()] == [[s.width for s in samples], [s.height for s in samples]]
    joined.require_untouched()
    with pytest.raises(IndexError):
        joined[12]
    assert pickle.loads(pickle.dumps(joined))[11] == samples[11]


def test_shares_and_steps_make_other_data(made):
    kinds = [{}, {"a": {"repeats": 2}}, {"a": {"last_step": 5}}, {"b": {"first_step": 2}}]
    prints = [index.open_for(made(**more), None).fingerprint for more in kinds]
    assert len(set(prints)) == 4 and index.open_for(made(), None).fingerprint == prints[0]


def test_a_source_without_latents_is_one_line(made, tmp_path):
    made()
    (tmp_path / "a" / "latents" / "id3.npz").unlink()
    with pytest.raises(UserError, match="id3"):
        index.open_for(tmp_path / "mix.toml", None)
