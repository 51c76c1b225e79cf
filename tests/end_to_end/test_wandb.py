"""wandb as the tracker, without its service: its log lies in the run folder and holds what TensorBoard's does.

The package is no dependency; it is fetched for this test alone.
"""

import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.launching import launch

pytestmark = pytest.mark.slow
RUN, STEPS = "24120801", 2


@pytest.fixture(scope="module")
def wandb(tmp_path_factory):
    """A folder with the package, for PYTHONPATH; what a run uses already is taken from its own installation."""
    site = tmp_path_factory.mktemp("site")
    fetch = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), "wandb>=0.17"]
    done = subprocess.run(fetch, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"wandb cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
    return site


def start(wandb, output, trainer, **more):
    variables = {"PROFILE": "tiny", "TINY_STEPS": STEPS, "TRAINER": trainer, "PYTHONPATH": wandb} | more
    return launch(RUN, output, **variables)


@pytest.mark.parametrize("trainer", [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"])
def test_both_trackers_hear_the_same(wandb, tmp_path, trainer):
    run = start(wandb, tmp_path, trainer, ARGS="--log_with=all", WANDB_MODE="offline")
    assert run.code == 0, run.said[-2000:]
    logs = run.folder.rglob("offline-run-*/*.wandb")
    kept = max((log.read_bytes() for log in logs), key=len)  # values stand there as JSON
    assert f"{RUN} {run.folder.name}".encode() in kept
    events = EventAccumulator(str(next((run.folder / "tensorboard").rglob("events*")).parent))
    events.Reload()
    losses = [event.value for event in events.Scalars("loss")]
    assert len(losses) >= STEPS and all(repr(loss).encode() in kept for loss in losses)


def test_without_a_key_it_is_one_line(wandb, tmp_path):
    run = start(wandb, tmp_path, "reference", ARGS="--log_with=wandb", WANDB_MODE="online", HOME=tmp_path)
    assert run.code == 2 and "Traceback" not in run.said
    assert "--log_with: wandb cannot begin (" in run.said
    assert not (run.output / "last.safetensors").exists()
