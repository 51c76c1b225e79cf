"""However `--extensions` is spelt, with each trainer: the same plugins, so the same run to the last bit."""

import shlex

import pytest
from safetensors import safe_open

from extensions.launch import processor
from extensions.resume import identity, states
from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
NAMES = ["dual_tag", "resume_at_step", "save_states", "on_nan", "record_run"]
NAMES += [] if processor.has_bf16() else ["cpu_bf16"]
PLAIN = ",".join(NAMES)
ODD = f" {NAMES[0]} ,{NAMES[1]},, {', '.join(NAMES[2:])} ,"
OF_A_LAUNCH = ("extensions", "output_dir", "logging_dir", "run_folder")  # flags of the record that must differ
SAME = ("extensions", "trainer", "processes", "trainable_parameters", "images", "base_model", "metadata", "exit_code")


def trained(spelling, trainer, output):
    words = shlex.join([f"--extensions={spelling}"])
    done = launch("24120801", output, PROFILE="tiny", TINY_STEPS=2, TRAINER=trainer, ARGS=words)
    assert done.code == 0, done.said[-3000:]
    return done


def record(done) -> dict:
    """What the run folder says of the run, without times, memory and places."""
    flags = {name: value for name, value in done.manifest["flags"].items() if name not in OF_A_LAUNCH}
    lines = [{key: line[key] for key in ("optimizer_step", "samples", "loss", "lr")} for line in done.metrics]
    return {name: done.manifest[name] for name in SAME} | {"flags": flags, "metrics": lines}


def checkpoint(done) -> tuple[dict, dict]:
    """(the last checkpoint's tensors, what it says of its run but the time)."""
    with safe_open(done.output / "last.safetensors", framework="pt") as file:
        said = {key: value for key, value in file.metadata().items() if key.startswith("sdxl_trainer.")}
        del said["sdxl_trainer.started"]
        return {name: file.get_tensor(name) for name in file.keys()}, said


@pytest.mark.parametrize(
    "trainer", [pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow]), "reference"]
)
def test_blanks_and_commas_too_many_change_nothing(trainer, standins, tmp_path):
    plain, other = trained(PLAIN, trainer, tmp_path / "plain"), trained(ODD, trainer, tmp_path / "odd")
    assert plain.manifest["extensions"] == NAMES and len(plain.metrics) == 2
    assert record(other) == record(plain)
    (tensors, said), (wanted, told) = checkpoint(other), checkpoint(plain)
    assert said == told and tensors.keys() == wanted.keys()
    assert all(tensors[name].equal(tensor) for name, tensor in wanted.items())
    one, two = (states.newest_good(states.folder_of(done.output)) for done in (plain, other))
    assert one.facts.files == two.facts.files  # weights, optimizer and random streams, by their checksums
    identity.require_same(one, two.facts.made_with, set())  # either goes on from the other
