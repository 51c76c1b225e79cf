"""Where a run's processes are: two machines, a NUMA node, a RAM disk. With each trainer, on CPUs over gloo."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors.torch import load_file

from extensions.base.paths import ROOT
from extensions.launch import command, memory, numa
from tests.helpers.launching import launch

LOSS = re.compile(r"\[hook\] micro_step_ended\(run=Run, loss=([0-9.e-]+)")  # two processes may share a line
SHM = Path("/dev/shm")
TRAINERS = [pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow]), "reference"]
# A numactl for machines without one: notes what it was asked for, and becomes the command.
NUMACTL = """#!/usr/bin/env bash
printf '%s ' "$@" >> "$NUMACTL_ASKED"; echo >> "$NUMACTL_ASKED"
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""


def losses(*runs) -> list[float]:
    """Of every micro-step of all processes."""
    return sorted(float(loss) for run in runs for loss in LOSS.findall(run.said))


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_two_machines_train_what_one_with_two_processes_trains(trainer, standins, tmp_path):
    """Two launchers that share a disk, one process each, on the loopback interface."""
    common = {"PROFILE": "tiny", "TINY_STEPS": 2, "TRAINER": trainer, "EXTENSIONS_TRACE": "1"}
    meeting = {"NNODES": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": command.free_port()}

    def machine(rank):
        return launch("24122101", tmp_path / "two", NODE_RANK=rank, **meeting, **common)

    one = launch("24122101", tmp_path / "one", GPUS=2, **common)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(machine, (0, 1))
    for run in (one, first, second):
        assert run.code == 0, run.said[-3000:]
    assert len(losses(first)) == len(losses(second)) == 2
    assert losses(first, second) == pytest.approx(losses(one), rel=1e-6)
    weights, wanted = (load_file(run.output / "last.safetensors") for run in (first, one))
    assert all(weights[name].equal(tensor) for name, tensor in wanted.items())
    assert first.metrics[-1]["samples"] == 4
    assert_records(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_two_machines_with_other_texts_do_not_start(trainer, standins, tmp_path):
    """The same ids and sizes, one text of them another: each machine alone would find nothing wrong."""
    entries = json.loads(standins["meta_sdxl"].read_text(encoding="utf-8"))
    next(iter(entries.values()))["tags"] = "another tag"
    meeting = {"NNODES": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": command.free_port()}

    def machine(rank):
        meta = tmp_path / f"machine-{rank}.json"
        meta.write_text(json.dumps(entries) if rank else standins["meta_sdxl"].read_text(encoding="utf-8"))
        words = {"ARGS": f"--in_json='{meta}'", "PROFILE": "tiny", "TRAINER": trainer}
        return launch("24122101", tmp_path / "two", NODE_RANK=rank, **meeting, **words)

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(machine, (0, 1)))
    for done in both:
        assert done.code == 2 and "Traceback" not in done.said, done.said[-3000:]
        assert "error: other images or texts than process 0 has were opened by process 1: " in done.said


def assert_records(first, second) -> None:
    """Machine 0 has the metrics and writes the model; both have a record and a log of their own."""
    assert second.folder.name.endswith("-node1") and second.folder.parent == first.folder.parent
    assert not (second.folder / "metrics.jsonl").exists() and (second.folder / "train.log").stat().st_size
    for rank, run in enumerate((first, second)):
        assert run.manifest["processes"] == 2 and run.manifest["exit_code"] == 0
        assert run.manifest["machines"] == {"count": 2, "rank": rank}
    saves = re.compile("saving /|save trained model")  # the reference trainer's words, sd-scripts'
    assert saves.search(first.said) and not saves.search(second.said)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(
    ("number", "processes"), [pytest.param("25030401", 2, marks=pytest.mark.slow), ("25030403", 1)]
)
def test_on_a_numa_node_and_from_a_ram_disk(number, processes, trainer, standins, tmp_path):
    """The runs as the logbook has them, two processes where it has four: bound to node 0, reading from memory."""
    if not (numa.NODES / "node0").is_dir() or not memory.is_tmpfs(SHM):
        pytest.skip("this machine has no NUMA node 0, or no tmpfs")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "numactl").write_text(NUMACTL)
    (tmp_path / "bin" / "numactl").chmod(0o755)
    ramdisk = SHM / f"topology-test-{os.getpid()}"
    variables = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "NUMACTL_ASKED": str(tmp_path / "asked"),
        "RAMDISK_DIR": str(ramdisk), "GPUS": processes, "PROFILE": "tiny", "TINY_STEPS": 1, "TRAINER": trainer,
    }  # fmt: skip
    try:
        run = launch(number, tmp_path / "output", **variables)
        assert run.code == 0, run.said[-3000:]
        asked = (tmp_path / "asked").read_text().splitlines()
        assert len(asked) == 2 and all(line.startswith("--cpunodebind=0 --membind=0 ") for line in asked)
        assert asked[0].endswith(" true ") and str(ramdisk) in asked[1], "the probe, then the run"
        assert ("--nproc_per_node=2" in asked[1]) == (processes == 2)
        assert_staged(run, standins, ramdisk)
        assert run.manifest["processes"] == processes and run.metrics[-1]["samples"] == 4 * processes
    finally:
        clean = [sys.executable, "-m", "extensions.launch.ramdisk"]
        subprocess.run(clean, cwd=ROOT, env=os.environ | {"RAMDISK_DIR": str(ramdisk)}, check=True)
    assert not ramdisk.exists()


def assert_staged(run, standins, ramdisk) -> None:
    """The command reads copies; the record names what they are copies of."""
    manifest = run.manifest
    assert manifest["numa_node"] == 0
    for flag in ("pretrained_model_name_or_path", "in_json", "train_data_dir"):
        assert manifest["flags"][flag].startswith(str(ramdisk))
    assert manifest["ramdisk"]["train_data_dir"] == str(standins["data_sdxl"])
    assert manifest["base_model"]["path"] == str(standins["sdxl"])
    assert f"# --in_json names a copy in memory of {standins['meta_sdxl']}" in (run.folder / "command.sh").read_text()
