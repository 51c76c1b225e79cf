"""Training from a pack, and past corrupt latents, in whole runs of a trainer."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from extensions.base.paths import ROOT
from extensions.data.index import open_for
from extensions.data.pack import make
from extensions.launch import command
from extensions.launch.stages import changed
from tests.proofs import parity

BOTH = pytest.mark.parametrize(
    "trainer", ["reference", pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow])]
)
STEPS = 8
SKIP = (("extensions", "record_run,bad_sample"), ("bad_sample", "skip"))


@dataclass
class Trained:
    """One run: exit code, what it said, the losses of its micro-steps on process 0."""

    code: int
    said: str

    @property
    def losses(self) -> list[str]:
        return re.findall(r"\[hook\] micro_step_ended\(.*?\bloss=([^,]+),", self.said)


def train(trainer: str, data: Path, output: Path, *more, processes: int = 1, request=None) -> Trained:
    """A little more than an epoch of the stand-in set by the flags of 24120801, in float32; latents from `data`."""
    case = parity.Case("", "24120801", ("extensions", "dual_tag"), more, processes)
    asked = parity.prepared(case, output)
    flags = asked.flags.without("gradient_accumulation_steps", "max_train_epochs")
    for name, value in (("train_data_dir", data), ("train_batch_size", 4), ("max_train_steps", STEPS)):
        flags = flags.with_(name, value)
    asked = changed(asked, flags=flags)
    patched = request.getfixturevalue("patched") if trainer == "sd-scripts" else None
    environment = os.environ | command.environment(asked) | {"EXTENSIONS_TRACE": "1"}
    words = command.build(asked, patched)
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    return Trained(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def broken(standins, tmp_path):
    """The stand-in latents, two of them damaged; (folder, their ids)."""
    folder = tmp_path / "broken"
    shutil.copytree(standins["data_sdxl"], folder)
    index = open_for(standins["meta_sdxl"], standins["data_sdxl"])
    # Of a bucket with others, so that there is one to take the place.
    largest = np.flatnonzero(index.bucket == np.bincount(index.bucket).argmax())
    keys = [index[int(row)].key for row in largest[[0, 2]]]
    for key in keys:
        path = folder / f"{key}.npz"
        path.write_bytes(path.read_bytes()[:500])
    return folder, keys


@BOTH
def test_from_a_pack_every_loss_is_the_one_from_npz(trainer, standins, tmp_path, request):
    index = open_for(standins["meta_sdxl"], standins["data_sdxl"])
    make.make(index, make.Wish(standins["data_sdxl"], tmp_path / "pack"), 1)
    plain = train(trainer, standins["data_sdxl"], tmp_path / "one", request=request)
    packed = train(trainer, tmp_path / "pack", tmp_path / "two", request=request)
    assert plain.code == packed.code == 0, packed.said[-3000:]
    assert len(plain.losses) == STEPS and packed.losses == plain.losses


@pytest.mark.slow
@BOTH
def test_corrupt_latents_stop_a_run_or_are_passed_over(trainer, broken, tmp_path, request):
    folder, keys = broken
    stopped = train(trainer, folder, tmp_path / "one", request=request)
    assert stopped.code == 2 and not stopped.losses
    assert f"{keys[0]}.npz is corrupt" in stopped.said.splitlines()[-1]
    record = tmp_path / "run"
    done = train(trainer, folder, tmp_path / "two", *SKIP, ("run_folder", str(record)), request=request)
    assert done.code == 0 and len(done.losses) == STEPS, done.said[-3000:]
    listed = (record / "bad_samples.txt").read_text().split()
    assert sorted(listed) == sorted(keys)
    assert all(done.said.count(f"bad_sample: skipped {key!r} (process 0): ") == 1 for key in keys)
    assert re.search(r"bad_sample: process 0 skipped 2 corrupt samples, \d times; listed in ", done.said)


@pytest.mark.slow
def test_two_processes_with_workers_stay_in_step_and_repeat_it(broken, tmp_path):
    folder, keys = broken
    more = (*SKIP, ("max_data_loader_n_workers", "1"))
    runs = [train("reference", folder, tmp_path / str(number), *more, processes=2) for number in range(2)]
    assert [run.code for run in runs] == [0, 0], runs[0].said[-3000:]
    assert runs[0].losses and sorted(runs[0].losses) == sorted(runs[1].losses)
    assert all(f"bad_sample: skipped {key!r}" in runs[0].said for key in keys)


def test_more_than_the_limit_ends_the_run_in_one_line(broken, tmp_path):
    done = train("reference", broken[0], tmp_path / "out", *SKIP, ("bad_sample_limit", "1"))
    assert done.code == 2 and "Traceback" not in done.said
    assert "2 corrupt samples, more than --bad_sample_limit=1" in done.said
