"""Killed (-9) at random moments, some during a save, and resumed each time: the end is that of the unbroken run."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from extensions.base.paths import LAUNCHERS
from extensions.resume import states
from tests.helpers.launching import launch

RUN = "24120801"
SETTINGS = {"PROFILE": "tiny", "ARGS": "--states_every_n_steps=1"}
LONG = [
    pytest.param("reference", 20, 90, marks=pytest.mark.slow),
    pytest.param("sd-scripts", 20, 90, marks=[pytest.mark.slow, pytest.mark.upstream]),
]


def start(output: Path, settings: dict) -> subprocess.Popen:
    variables = os.environ | {"OUTPUT": str(output), "LOGS": str(output / "logs"), "RESUME": "auto"}
    variables |= {name: str(value) for name, value in settings.items()}
    with open(output / "said.log", "ab") as log:
        return subprocess.Popen(
            [LAUNCHERS / f"{RUN}.sh"], env=variables, stdout=log, stderr=log, start_new_session=True
        )


def kill(process: subprocess.Popen) -> None:
    """The launcher, the trainer and its workers, all at once, as a power cut would."""
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    for one in family:
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def moment(draw: random.Random, process: subprocess.Popen, folder: Path, during_save: bool) -> bool:
    """Wait for a moment to kill; whether the run is still under way then. During a save: a half state is there."""
    before = newest_name(folder)
    until = time.monotonic() + 240
    while process.poll() is None and newest_name(folder) == before:  # it has come as far as a step of its own
        assert time.monotonic() < until
        time.sleep(0.01)
    while during_save and process.poll() is None and not any(folder.glob(".step*.part/*.safetensors")):
        time.sleep(0.001)
    if not during_save:
        time.sleep(draw.uniform(0, 1.5))
    return process.poll() is None


def newest_name(folder: Path) -> str:
    return max((path.name for path in folder.glob("step*")), default="")


@pytest.mark.parametrize(("trainer", "kills", "steps"), [("reference", 1, 8), *LONG])
def test_killed_and_resumed_it_ends_as_the_unbroken_run(trainer, kills, steps, tmp_path):
    settings = SETTINGS | {"TRAINER": trainer, "TINY_STEPS": steps}
    draw, during_saves = random.Random(kills), 0
    broken = tmp_path / "broken"
    broken.mkdir()
    folder = states.folder_of(broken / f"model_out_{RUN}")
    for number in range(kills):
        process = start(broken, settings)
        during_save = number % 2 == 0
        assert moment(draw, process, folder, during_save), (broken / "said.log").read_text()[-3000:]
        kill(process)
        during_saves += any(folder.glob(".step*.part"))
    assert during_saves >= (kills + 1) // 2
    assert start(broken, settings).wait(timeout=1200) == 0, (broken / "said.log").read_text()[-3000:]
    whole = launch(RUN, tmp_path / "whole", seconds=1200, **settings)
    assert whole.code == 0, whole.said[-3000:]
    one, other = (states.newest_good(states.folder_of(out)) for out in (folder.parent, whole.output))
    assert one.optimizer_steps == other.optimizer_steps == steps
    assert one.facts.files == other.facts.files
    assert not list(folder.glob(".step*"))
