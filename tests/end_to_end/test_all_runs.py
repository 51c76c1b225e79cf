"""All runs of the logbook on stand-ins, two optimizer steps each. About half an hour."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from launching import launch

LAUNCHERS = sorted(Path(__file__).parents[2].glob("train/[0-9]*.sh"))


@pytest.mark.slow
@pytest.mark.upstream
@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: path.stem)
def test_run(launcher, tmp_path):
    from safetensors import safe_open

    run = launch(launcher.stem, tmp_path, PROFILE="tiny", TINY_STEPS=2)
    assert run.code == 0, run.said[-3000:]
    assert run.metrics[-1]["loss"] < 10
    with safe_open(run.output / "last.safetensors", framework="pt") as file:
        keys = list(file.keys())
    assert not [key for key in keys if "_orig_mod" in key or key.startswith("module.")]
