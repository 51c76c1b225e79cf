"""The room asked for under ZeRO is what DeepSpeed's own two shares take."""

import os
import subprocess
import sys

import pytest

from extensions.base.paths import TORCH_EXTENSIONS
from extensions.launch import processor

TWO = """
from types import SimpleNamespace
import bitsandbytes, torch
from accelerate import Accelerator, DeepSpeedPlugin
from accelerate.utils import gather_object
from extensions.model.models import Models
from extensions.resume import capture, parts

plugin = DeepSpeedPlugin(zero_stage=2, gradient_accumulation_steps=1)
plugin.deepspeed_config |= {"train_micro_batch_size_per_gpu": 1, "zero_allow_untested_optimizer": True}
made = Accelerator(mixed_precision="bf16", deepspeed_plugin=plugin)
net = torch.nn.Sequential(torch.nn.Linear(300, 301), torch.nn.Linear(301, 300))
kind = OPTIMIZER
model, optimizer = made.prepare(net, kind(net.parameters(), lr=1e-3))
asked = capture.expected_bytes(Models("sdxl", net), optimizer.optimizer)
made.backward(model(torch.randn(1, 300).bfloat16()).float().pow(2).mean())
optimizer.step()
mine = parts.size_of(capture.optimizer(SimpleNamespace(accelerator=made, optimizer=optimizer)))
taken = sum(gather_object([mine])) + parts.size_of(net.state_dict())
if made.is_main_process:
    print("asked and taken:", asked, taken, flush=True)
made.end_training()
"""


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["torch.optim.AdamW", "bitsandbytes.optim.AdamW8bit"])
def test_of_two_processes(tmp_path, optimizer):
    (tmp_path / "two.py").write_text(TWO.replace("OPTIMIZER", optimizer))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "two.py"]
    chosen = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    chosen["TORCH_EXTENSIONS_DIR"] = str(TORCH_EXTENSIONS / processor.kind())
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | chosen, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("asked and taken:"))
    asked, taken = map(int, line.split()[-2:])
    assert asked <= taken <= 1.02 * asked
