"""Killed between a state and the checkpoint that the trainer would have come to next, a run still ends with it."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from extensions.resume import states
from tests.helpers.launching import launch

RUN = "25022601"  # 23 stand-in images, gradient accumulation 4: epochs of six optimizer steps
TRAINERS = [pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow]), "reference"]


def checkpoints(output: Path) -> dict[str, dict]:
    return {path.name: load_file(path) for path in output.glob("*.safetensors")}


def assert_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name, tensors in wanted.items():
        assert all(found[name][key].equal(tensor) for key, tensor in tensors.items()), name


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_checkpoints_of_an_epoch_and_of_the_end(trainer, tmp_path):
    words = "--states_every_n_steps=6 --keep_states=3 --save_every_n_epochs=1"
    common = {"PROFILE": "tiny", "TINY_STEPS": 7, "TRAINER": trainer, "ARGS": words}
    whole = launch(RUN, tmp_path, **common)
    assert whole.code == 0, whole.said[-3000:]
    wanted = checkpoints(whole.output)
    assert wanted.keys() == {"epoch-000001.safetensors", "last.safetensors"}

    (whole.output / "last.safetensors").unlink()  # killed after the last state
    done = launch(RUN, tmp_path, RESUME="auto", **common)
    assert done.code == 0, done.said[-3000:]
    assert "has left no checkpoint 'last'" in done.said and not done.metrics
    assert_same(checkpoints(done.output), wanted)

    for name in wanted:  # killed after the state that ends the epoch
        (whole.output / name).unlink()
    shutil.rmtree(states.folder_of(whole.output) / states.name_of(7))
    done = launch(RUN, tmp_path, RESUME="auto", **common)
    assert done.code == 0, done.said[-3000:]
    assert [line["optimizer_step"] for line in done.metrics] == [7]
    assert_same(checkpoints(done.output), wanted)

    refused = launch(RUN, tmp_path, RESUME="auto", **common)
    assert refused.code == 2 and "it is complete" in refused.said
