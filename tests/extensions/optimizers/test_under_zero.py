"""Which optimizers ZeRO can have: by flag, package and arguments; each of them run and gone on with under ZeRO-2."""

import os
import subprocess
import sys

import pytest

from extensions.base.paths import ROOT, TORCH_EXTENSIONS
from extensions.launch import processor
from extensions.optimizers import under_zero
from extensions.optimizers.facts import BY_SHAPE, FACTORS, MASKS, OPTIMIZERS


@pytest.mark.parametrize(
    ("name", "arguments", "what"),
    [
        *((facts.flag.split()[0], {}, facts.shapes) for facts in OPTIMIZERS),
        ("PagedAdamW8bit", {}, ""),
        ("bitsandbytes.optim.PagedLion8bit", {"weight_decay": 0.1}, ""),
        ("torch.optim.SGD", {}, ""),
        ("torchao.optim.AdamW4bit", {}, BY_SHAPE),
        ("adafactor", {"relative_step": False}, FACTORS),
        ("Lion", {"cautious_factor": 0.0}, MASKS),
        ("lion_pytorch.Lion", {"cautious_factor": 1.0}, ""),
        ("pytorch_optimizer.Lion", {"cautious": True}, MASKS),
        ("extensions.optimizers.CautiousLion", {"cautious": False}, ""),
        ("pytorch_optimizer.Lion", {"use_gc": True}, under_zero.BY_ARGUMENT["use_gc"]),
        ("pytorch_optimizer.Lion", {"adanorm": True}, under_zero.BY_ARGUMENT["adanorm"]),
        ("pytorch_optimizer.Lion", {"use_gc": False}, ""),
        ("torch.optim.adamw.AdamW", {}, ""),
        ("bitsandbytes.optim.adamw.AdamW8bit", {}, ""),
        ("SGD", {}, ""),
        ("torchao.optim.AdamW8bit", {}, None),  # a namesake that compiles each shape of weight
        ("my_package.AdamW", {}, None),
        ("Prodigy", {}, None),
        ("Prodigy", {"cautious": True}, MASKS),
    ],
)
def test_what_is_done_with_shapes_by_flag_and_arguments(name, arguments, what):
    assert under_zero.shapes_of(name, arguments) == what


# Two processes; a state after two steps, put back into a new engine, trains on as the unbroken one does, bit for bit.
TWO = """
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate import Accelerator, DeepSpeedPlugin
from accelerate.state import AcceleratorState

from extensions.flags.literals import literals
from extensions.reference.optimizers import class_of
from extensions.resume import capture, parts

folder, names = Path(sys.argv[1]), sys.argv[2:]

def made(name):
    AcceleratorState._reset_state(False)  # it keeps the first DeepSpeed plugin for good
    plugin = DeepSpeedPlugin(zero_stage=2, gradient_accumulation_steps=1)
    plugin.deepspeed_config |= {"train_micro_batch_size_per_gpu": 1, "zero_allow_untested_optimizer": True}
    accelerator = Accelerator(mixed_precision="no", deepspeed_plugin=plugin)
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(300, 701), torch.nn.Linear(701, 300))
    kind, *arguments = name.split()
    optimizer = class_of(kind)(net.parameters(), lr=1e-3, **literals("optimizer_args", arguments))
    model, optimizer = accelerator.prepare(net, optimizer)
    return SimpleNamespace(accelerator=accelerator, optimizer=optimizer, model=model, net=net)

def train(run, *steps):
    for number in steps:
        torch.manual_seed(100 * number + run.accelerator.process_index)
        run.accelerator.backward(run.model(torch.randn(1, 300)).square().mean())
        run.optimizer.step()
        run.optimizer.zero_grad()

for name in names:
    whole = made(name)
    begin = {key: value.clone() for key, value in whole.net.state_dict().items()}
    train(whole, 0, 1)
    file = f"optimizer-{whole.accelerator.process_index}.safetensors"
    parts.Part(file, capture.optimizer(whole)).write(folder)
    weights = {key: value.clone() for key, value in whole.net.state_dict().items()}
    train(whole, 2, 3)
    again = made(name)
    again.net.load_state_dict(weights)
    capture.restore_share(again, parts.read(folder / file))
    train(again, 2, 3)
    ended = whole.net.state_dict()
    assert all(torch.equal(value, ended[key]) for key, value in again.net.state_dict().items()), name
    moved = [not torch.equal(value, ended[key]) and ended[key].isfinite().all() for key, value in begin.items()]
    assert all(moved), name
    whole.accelerator.print("trained and gone on with:", name, flush=True)
whole.accelerator.end_training()
"""
# What each needs besides its name.
ARGUMENTS = {"extensions.optimizers.CautiousLion": " cautious=False", "bitsandbytes.optim.SGD": " momentum=0.9"}


@pytest.mark.slow
def test_each_name_that_is_let_through_trains_and_is_gone_on_with(tmp_path):
    names = [name + ARGUMENTS.get(name, "") for name in under_zero.names()]
    assert len(names) == len(set(names)) >= 17
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    chosen = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    chosen["TORCH_EXTENSIONS_DIR"] = str(TORCH_EXTENSIONS / processor.kind())
    done = subprocess.run(
        [*command, str(tmp_path / "two.py"), str(tmp_path), *names],
        cwd=ROOT, env=os.environ | chosen, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = [line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("trained and gone")]
    assert said == names
