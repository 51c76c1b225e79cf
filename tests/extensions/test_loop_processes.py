"""What an optimizer step costs in reductions, and that one process's report ends all: two real ones over gloo."""

import json
import os
import subprocess
import sys

from extensions.base.paths import ROOT

DRIVER = """
import json, os, signal, sys
from collections import Counter
from pathlib import Path

import torch.distributed

from extensions import manager
from extensions.base.errors import Stopped
from extensions.hookspecs import hookimpl
from extensions.trainer import start
from tests.helpers import small_trainer

folder, asked = Path(sys.argv[1]), int(sys.argv[2])
calls = Counter()
for name in ("all_reduce", "all_gather", "all_gather_object", "broadcast", "broadcast_object_list", "barrier",
             "gather_object", "all_gather_into_tensor", "reduce"):
    def counted(*arguments, _name=name, _inner=getattr(torch.distributed, name), **keywords):
        calls[_name] += 1
        return _inner(*arguments, **keywords)
    setattr(torch.distributed, name, counted)

class Meter:
    def __init__(self):
        self.steps = []

    @hookimpl(tryfirst=True)
    def optimizer_step_ended(self, run):
        self.steps.append(dict(calls))
        calls.clear()
        if asked == run.optimizer_steps and run.accelerator.process_index == 1:
            signal.raise_signal(signal.SIGTERM)

meter, install = Meter(), manager.install
def with_meter(names):
    made = install(names)
    made.register("meter", meter)
    return made
manager.install = with_meter
words, plugins = ["--bad_sample=skip"], small_trainer.PLUGINS + ",bad_sample"

def begin():
    try:
        small_trainer.train(small_trainer.flags(folder, *words, extensions=plugins, in_json="24", max_train_steps=6))
        ended = "whole"
    except Stopped as stopped:
        ended = str(stopped)
    (folder / f"said-{os.environ['RANK']}.json").write_text(json.dumps({"steps": meter.steps, "ended": ended}))

sys.exit(start.run(begin))
"""


def two_processes(folder, asked: int = 0) -> list[dict]:
    """What each of two processes has counted. asked: the optimizer step in which process 1 gets a SIGTERM."""
    (folder / "driver.py").write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
         str(folder / "driver.py"), str(folder), str(asked)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((folder / f"said-{rank}.json").read_text()) for rank in range(2)]


def test_one_reduction_before_the_update_and_one_after_it(tmp_path):
    """NaN has to be known before the update; loss, corrupt samples and signals after it, in one."""
    for said in two_processes(tmp_path):
        assert said["ended"] == "whole" and len(said["steps"]) == 6
        assert said["steps"][1:] == [{"all_reduce": 2}] * 5  # the first has the start's


def test_a_signal_to_one_process_ends_both_after_the_same_step(tmp_path):
    """It comes when the reports of step 3 are out: those of step 4 carry it."""
    ends = [said["ended"] for said in two_processes(tmp_path, asked=3)]
    assert ends == ["stopped at optimizer step 4 as asked; RESUME=auto goes on"] * 2
