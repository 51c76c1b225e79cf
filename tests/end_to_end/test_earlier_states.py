"""States that an earlier commit has written are gone on from, to the last bit."""

import json
import os
import platform
import shlex
import subprocess
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

FIXTURE = Path(__file__).parents[1] / "fixtures" / "states_of_1b70857"
LAUNCHER = FIXTURE / "25990101.sh"
EXPECTED = json.loads((FIXTURE / "expected.json").read_text())
# The same kernels on every processor: PyTorch's and its libraries' for the least that an x86-64 can do.
KERNELS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
# What PROFILE=tiny would replace by its stand-ins.
KEPT = (
    "extensions",
    "pretrained_model_name_or_path",
    "in_json",
    "train_data_dir",
    "max_train_steps",
    "states_every_n_steps",
)

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or version("torch").split("+")[0] != EXPECTED["torch"],
    reason=f"the bits are those of torch {EXPECTED['torch']} on x86-64",
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    unpack("inputs", folder)
    return folder


def unpack(name, folder):
    with tarfile.open(FIXTURE / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")


def go_on(trainer, inputs, output):
    variables = os.environ | {"INPUTS": str(inputs), "OUTPUT": str(output), "LOGS": str(output / "logs")}
    asked = subprocess.run(
        [LAUNCHER], env=variables | {"LAUNCH_FACTS": "1"}, capture_output=True, text=True, check=True
    )
    words = [word for word in asked.stdout.split("\0") if word[2:].partition("=")[0] in KEPT]
    variables |= KERNELS | {"PROFILE": "tiny", "TRAINER": trainer, "RESUME": "auto", "ARGS": shlex.join(words)}
    return subprocess.run([LAUNCHER], env=variables, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize("trainer", [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"])
def test_a_state_of_before_resumes_to_the_last_bit(trainer, inputs, tmp_path):
    output = tmp_path / "model_out_25990101"
    unpack(trainer, output / "states")
    done = go_on(trainer, inputs, tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "resuming at optimizer step 2" in done.stderr
    state = json.loads((output / "states" / "step00000004" / "state.json").read_text())
    found = {name: entry["xxh3_128"] for name, entry in state["files"].items()}
    wanted = EXPECTED[trainer]
    assert found.keys() == wanted.keys()
    assert not {name: sum for name, sum in found.items() if sum not in wanted[name]}
