"""A disk that fills up under a run: a state is passed over, a checkpoint ends it; what is there is whole."""

import pytest
from safetensors.torch import load_file

from extensions.resume import states
from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow]), "reference"]


@pytest.mark.disk_size("160m")  # a checkpoint of the stand-in takes 42 MB, a state 65
@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_third_checkpoint_does_not_fit(small_disk, tmp_path, standins, trainer):
    flags = "--save_every_n_steps=1 --states_every_n_steps=1 --keep_states=1"
    settings = {"PROFILE": "tiny", "TINY_STEPS": 4, "TRAINER": trainer, "LOGS": tmp_path / "logs"}
    run = launch("24120801", small_disk, ARGS=flags, **settings)
    assert run.code == 2 and "Traceback" not in run.said, run.said[-3000:]
    said = [line for line in run.said.splitlines() if line.startswith("error: ")]
    third = run.output / "at-step00000003.safetensors"
    assert len(said) == 1 and said[0].startswith(f"error: no checkpoint {third} at optimizer step 3: "), said
    assert "make room" in said[0] and "no state saved at optimizer step 2: " in run.said
    assert "to go on: make train" in run.said and "RESUME=auto" in run.said
    left = {path.name for path in run.output.glob("[!.]*")}
    assert left == {"states", "at-step00000001.safetensors", "at-step00000002.safetensors"}
    for name in left - {"states"}:
        assert load_file(run.output / name)
    assert [path.name for path in (run.output / "states").iterdir()] == ["step00000001"]
    states.verify(states.read(run.output / "states" / "step00000001"))
