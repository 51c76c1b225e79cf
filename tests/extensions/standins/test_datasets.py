"""The stand-in datasets as a whole, and the cost of a warm start."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from extensions.base.errors import UserError
from extensions.standins.datasets import ensure_dataset
from extensions.standins.ensure import ensure_all
from extensions.standins.photos import photographs

SCALING = {"sdxl": 0.13025, "sd2": 0.18215}


def arrays(folder):
    return {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*.npz"))}


@pytest.mark.parametrize("kind", SCALING)
def test_scaled_latents_have_deviation_one_and_say_something(standins, kind):
    found = [a["latents"] * SCALING[kind] for a in arrays(standins[f"data_{kind}"]).values()]
    assert np.concatenate([x.ravel() for x in found]).std() == pytest.approx(1, abs=0.2)
    assert all(x.std(axis=(1, 2)).min() > 0.05 for x in found)


@pytest.mark.parametrize("kind", SCALING)
def test_metadata_and_files_agree(standins, kind):
    metadata, found = json.loads(standins[f"meta_{kind}"].read_text()), arrays(standins[f"data_{kind}"])
    assert list(metadata) == [p.id for p in photographs()] and set(metadata) == set(found)
    for key, entry in metadata.items():
        width, height = entry["train_resolution"]
        assert width * height <= 192 * 192
        assert found[key]["latents"].shape == (4, height // 8, width // 8)


def test_absent_texts_are_absent(standins):
    metadata = json.loads(standins["meta_sdxl"].read_text())
    for photo in photographs():
        assert ("tags" in metadata[photo.id]) == (photo.tags is not None)
        assert metadata[photo.id].get("caption") == photo.caption


def test_several_buckets(standins):
    metadata = json.loads(standins["meta_sdxl"].read_text())
    assert len({tuple(entry["train_resolution"]) for entry in metadata.values()}) >= 2


def test_warm_start_is_quick_and_without_torch(standins):
    models, datasets = standins["tokenizers"].parent, standins["meta_sdxl"].parents[1]
    code = (
        "import sys; from pathlib import Path; from extensions.standins.ensure import ensure_all;"
        "ensure_all(*map(Path, sys.argv[1:])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, models, datasets], check=True, stdout=subprocess.DEVNULL)
    start = time.perf_counter()
    assert ensure_all(models, datasets) == standins
    assert time.perf_counter() - start < 0.3


def test_unknown_kind_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="sd9"):
        ensure_dataset(tmp_path, "sd9", tmp_path)
