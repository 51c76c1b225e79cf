"""A run on sd-scripts taken apart, as its authors did in 2026: the same losses; with seams as they were, an end."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest

from extensions.base.paths import ROOT
from tests.helpers.launching import launch
from tests.helpers.taken_apart import take_apart

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
PLACES = ("output_dir", "run_folder", "logging_dir")


@pytest.fixture(scope="module")
def run(tmp_path_factory, standins, patched):
    """Three optimizer steps of 25022601 on the pin."""
    done = launch("25022601", tmp_path_factory.mktemp("pin"), PROFILE="tiny", TINY_STEPS=3)
    assert done.code == 0, done.said[-3000:]
    return done


@pytest.fixture(scope="module")
def apart(tmp_path_factory, patched):
    return take_apart(patched, tmp_path_factory.mktemp("apart") / "tree")


def train(run, tree, folder, module):
    """The same command with another tree, and its own folders."""
    words = run.manifest["command"]
    words = words[words.index("extensions.upstream") - 2 :]
    words = [words[0], "-m", module, str(tree), *words[4:]]
    elsewhere = run.manifest["ramdisk"] | {name: str(folder / name) for name in PLACES}
    for flag, path in elsewhere.items():
        words = [f"--{flag}={path}" if word.startswith(f"--{flag}=") else word for word in words]
    (folder / "run_folder").mkdir()
    variables = os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    variables |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, env=variables, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    path = folder / "run_folder" / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return SimpleNamespace(
        code=done.returncode, said=done.stderr, losses=[json.loads(line)["loss"] for line in lines]
    )


def test_our_seams_fire_and_the_run_is_the_same(run, apart, tmp_path):
    done = train(run, apart, tmp_path, "extensions.upstream")
    assert done.code == 0, done.said[-3000:]
    assert done.losses == [line["loss"] for line in run.metrics] and len(done.losses) == 3
    assert "did not call" not in done.said + run.said


def test_seams_as_they_were_end_the_run_before_its_first_update(run, apart, tmp_path):
    done = train(run, apart, tmp_path, "tests.helpers.old_way_driver")
    errors = [line for line in done.said.splitlines() if line.startswith("error: ")]
    assert done.code == 2 and done.losses == [] and len(errors) == 1
    assert errors[0].startswith("error: sd-scripts did not call library.train_util.get_optimizer before the first ")
    assert "Traceback" not in done.said
