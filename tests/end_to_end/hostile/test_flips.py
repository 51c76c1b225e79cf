"""A flipped bit of any file of an index, a pack or a state: nothing is read as it is not, no signal, no traceback.

The daily suite takes a few flips of each; all thousand of each are slow.
"""

import json
from types import SimpleNamespace

import pytest
import torch

from extensions.data import index
from extensions.data.pack import make
from extensions.resume import parts, states
from extensions.resume.description import Description
from tests.helpers import npz_sets, pack_cases
from tests.helpers.flips import outcomes

READERS = "tests.helpers.flip_readers"
HARMLESS = {"same", "refused"}
FEW, ALL = 60, pytest.param(1000, marks=pytest.mark.slow)


@pytest.fixture
def folder(tmp_path):
    """Metadata of a dozen images, empty latents, and the index of both."""
    sizes = ([64, 128], [128, 64], [64, 64])
    entries = {
        f"id{i}": {"caption": f"Bild {i}, ein größeres.", "tags": "a, " * i, "train_resolution": sizes[i % 3]}
        for i in range(12)
    }
    (tmp_path / "meta_lat.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "latents").mkdir()
    for key in entries:
        (tmp_path / "latents" / f"{key}.npz").touch()
    index.open_for(tmp_path / "meta_lat.json", tmp_path / "latents")
    return tmp_path


@pytest.mark.parametrize("count", [FEW, ALL])
@pytest.mark.parametrize("reader", ["named_index", "index_of_metadata"])
def test_an_index(folder, count, reader):
    file = next(folder.glob("*.index.arrow"))
    found = outcomes((READERS, reader), folder, file, count, seed=1)
    assert set(found) <= HARMLESS, {outcome: bits[:5] for outcome, bits in found.items()}
    assert len(found["refused"]) > (count / 2 if reader == "named_index" else 0), "most of a small file matters"


@pytest.fixture
def packed(tmp_path):
    """Twelve images, two shards a bucket, read once, so that the map of rows is kept."""
    meta, data = npz_sets.make(tmp_path)
    made = index.open_for(meta, data)
    make.make(made, make.Wish(data, tmp_path / "pack", shard_bytes=pack_cases.TWO_RECORDS), jobs=1)
    pack_cases.rows(SimpleNamespace(index=made), tmp_path / "pack")
    return tmp_path


@pytest.mark.parametrize("count", [FEW, ALL])
@pytest.mark.parametrize("file", ["pack/pack.json", "pack/keys.arrow", "pack/rows-*.npy", "pack/*.bin"])
def test_a_pack(packed, count, file):
    reader = "latents_found_anew" if "keys" in file else "latents"
    found = outcomes((READERS, reader), packed, next(packed.glob(file)), count, seed=2)
    assert set(found) <= HARMLESS, {outcome: bits[:5] for outcome, bits in found.items()}
    assert len(found["same" if "rows" in file else "refused"]) > count / 2


@pytest.mark.parametrize("count", [FEW, ALL])
def test_an_npz(tmp_path, count):
    _, data = npz_sets.make(tmp_path, count=2)
    found = outcomes((READERS, "latents"), tmp_path, data / "id1.npz", count, seed=3)
    assert set(found) <= HARMLESS, {outcome: bits[:5] for outcome, bits in found.items()}
    assert len(found["refused"]) > count / 2


@pytest.mark.parametrize("count", [FEW, ALL])
@pytest.mark.parametrize("file", ["state.json", "w.safetensors"])
def test_a_training_state(tmp_path, count, file):
    temporary = states.begin(tmp_path, 7)
    entry = parts.Part("w.safetensors", {"w": torch.arange(40.0)}).write(temporary)
    facts = Description(7, 14, 28, 7, 1, 5, "25022601", [[3, 4, "id3"]], {"data": "abc", "flags": {"seed": "5"}})
    path = states.commit(temporary, facts, {"w.safetensors": entry}).path
    found = outcomes((READERS, "state"), tmp_path, path / file, count, seed=4)
    assert set(found) <= HARMLESS, {outcome: bits[:5] for outcome, bits in found.items()}
    assert len(found["refused"]) > count / 2
