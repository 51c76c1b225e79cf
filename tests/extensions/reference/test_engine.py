"""How the processes of the reference trainer are set up. Two real ones over gloo."""

import os
import subprocess
import sys

import pytest

# Process 0 is later than the other one waits for it, if minutes are what they are told to be.
LATE = """
import argparse, sys, time
from extensions.reference import engine, flags
args = flags.parser("sdxl_train.py").parse_args([])
args.ddp_timeout = float(sys.argv[1])
made = engine.accelerator(args)
time.sleep(0 if made.process_index else 6)
made.wait_for_everyone()
made.end_training()
"""


@pytest.mark.parametrize(("minutes", "ends_well"), [(0.05, False), (60, True)])
def test_minutes_that_a_process_waits_for_the_others(tmp_path, minutes, ends_well):
    (tmp_path / "late.py").write_text(LATE)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "late.py"]
    variables = os.environ | {"ACCELERATE_USE_CPU": "true"}  # as the launcher has it; accelerate 1.13 asks for it
    done = subprocess.run(
        [*command, str(minutes)],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode == 0) == ends_well, done.stderr[-3000:]
    assert ("Timed out waiting 3000ms" in done.stderr) != ends_well
