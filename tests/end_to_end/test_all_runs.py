"""All runs of the logbook on stand-ins, two optimizer steps each, with each trainer. About an hour."""

import sys
from pathlib import Path

import pytest
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parent))
from launching import launch

LAUNCHERS = sorted(Path(__file__).parents[2].glob("train/[0-9]*.sh"))


@pytest.mark.slow
@pytest.mark.parametrize("trainer", [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"])
@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: path.stem)
def test_run(launcher, trainer, standins, tmp_path):
    run = launch(launcher.stem, tmp_path, PROFILE="tiny", TINY_STEPS=2, TRAINER=trainer)
    assert run.code == 0, run.said[-3000:]
    assert run.metrics[-1]["loss"] < 10
    family = "sd2" if run.manifest["script"] == "fine_tune.py" else "sdxl"
    assert shapes(run.output / "last.safetensors") == shapes(standins[family])


def shapes(path):
    """Key names and shapes; SDXL's position_ids are a buffer that not every writer keeps."""
    with safe_open(path, framework="pt") as file:
        found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    return {key: shape for key, shape in found.items() if not key.endswith("position_ids")}
