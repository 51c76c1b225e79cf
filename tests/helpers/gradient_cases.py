"""Trains a small model with real processes over gloo, gradients kept once or as DDP keeps them, and measures both.

python -m tests.helpers.gradient_cases '{"out": …, "width": …, …}'     one process, started as by torchrun
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch.nn.parallel import DistributedDataParallel

from extensions.base.processes import settle
from extensions.launch.command import free_port
from extensions.optimizers import gradients

UPDATES = 3


@dataclass(frozen=True)
class Case:
    """One run. kept: once, by `gradients`; else as upstream keeps them, with `views` of buckets or without.

    begins_at, ends_at: optimizer steps; a run that does not begin at 0 goes on from what one that ended there left.
    """

    kept: bool
    processes: int = 2
    accumulation: int = 4
    width: int = 64
    layers: int = 12
    views: bool = False
    optimizer: str = "AdamW"
    begins_at: int = 0
    ends_at: int = UPDATES


class Net(torch.nn.Module):
    """Layers that are called in another order than they are registered in, and dropout, which draws."""

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(layers))
        self.dropout = torch.nn.Dropout(0.1)

    def forward(self, x, *, scale: torch.Tensor):
        for number in torch.randperm(len(self.layers), generator=torch.Generator().manual_seed(5)).tolist():
            x = x + torch.tanh(self.layers[number](self.dropout(x))) * scale
        return {"out": x, "unused": None}


def ran(case: Case, folder: Path) -> list[dict]:
    """Run all processes; what each of them left: its weights, and what it measured at each micro-step."""
    common = os.environ | {
        "WORLD_SIZE": str(case.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", __name__, json.dumps(asdict(case) | {"folder": str(folder)})]
    ranks = range(case.processes)
    started = [subprocess.Popen(words, env=common | {"RANK": str(r), "LOCAL_RANK": str(r)}) for r in ranks]
    assert [process.wait(300) for process in started] == [0] * case.processes
    return [torch.load(folder / f"{rank}.pt") for rank in ranks]


def main(case: Case, folder: Path) -> None:
    """One process of a case."""
    torch.manual_seed(0)
    handlers = [DistributedDataParallelKwargs(gradient_as_bucket_view=True)] if case.views else []
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=case.accumulation, kwargs_handlers=handlers)
    if case.kept:
        gradients.keep_once(accelerator)
    net = Net(case.width, case.layers)
    optimizer = getattr(torch.optim, case.optimizer)(net.parameters(), lr=0.01)
    if case.begins_at:
        left = torch.load(folder / "state.pt")
        net.load_state_dict(left["net"])
        optimizer.load_state_dict(left["optimizer"])
    before = psutil.Process().memory_info().rss
    model, optimizer = accelerator.prepare(net, optimizer)
    measured = []
    for step in range(case.begins_at, case.ends_at):
        for micro_step in range(case.accumulation):
            torch.manual_seed(1000 * step + 10 * micro_step + accelerator.process_index)
            x, scale = torch.randn(8, case.width), torch.ones(1, requires_grad=True)
            with accelerator.accumulate(model):
                loss = (model(x, scale=scale)["out"] - x.flip(0)).square().mean()
                accelerator.backward(loss)
                assert scale.grad is not None and scale.grad.item() != 0  # the passes before left no graph, no sum
                measured.append(state_of(model, psutil.Process().memory_info().rss - before))
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
    if accelerator.is_main_process:
        torch.save({"net": net.state_dict(), "optimizer": optimizer.optimizer.state_dict()}, folder / "state.pt")
    weights = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    torch.save({"weights": weights, "measured": measured}, folder / f"{accelerator.process_index}.pt")
    settle()


def state_of(model: DistributedDataParallel, rss: int) -> dict[str, int]:
    """Bytes of gradients, of the storages that they lie in (which views share), and of the process since then."""
    found = [p.grad for p in model.parameters()]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in found}
    return {
        "gradients": sum(each.nbytes for each in found),
        "storages": sum(storages.values()),
        "count": len(storages),
        "rss": rss,
    }


if __name__ == "__main__":
    words = json.loads(sys.argv[1])
    where = Path(words.pop("folder"))
    main(Case(**words), where)
