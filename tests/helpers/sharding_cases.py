"""Steps every optimizer of the table divided among real processes over gloo, beside the same optimizer whole.

python -m tests.helpers.sharding_cases '{"updates": 50, …}'      one process, started as by torchrun
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate import Accelerator

from extensions.base.processes import settle
from extensions.launch.command import free_port
from extensions.optimizers import sharding
from extensions.optimizers import state as optimizer_state
from extensions.optimizers.facts import OPTIMIZERS
from extensions.optimizers.updates import Updates
from extensions.resume import capture, optimizer_shares, parts
from extensions.resume.description import Description, State
from tests.helpers import optimizer_cases

WAYS = ("nearest", "stochastic", "kahan")
RATE = 1e-3


def ran(processes: int, folder: Path, **case) -> list[dict]:
    """Run a case on so many processes; what each of them found, {"optimizer, way": …}."""
    folder.mkdir(parents=True, exist_ok=True)
    common = os.environ | {
        "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    words = [sys.executable, "-m", __name__, json.dumps(case | {"folder": str(folder)})]
    ranks = range(processes)
    started = [subprocess.Popen(words, env=common | {"RANK": str(r), "LOCAL_RANK": str(r)}) for r in ranks]
    assert [process.wait(1200) for process in started] == [0] * processes
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in ranks]


def trained(facts, way: str, divided: bool) -> SimpleNamespace:
    """A small model in bf16 and its optimizer, whole or divided. `updates`: done so far, which noise is drawn by."""
    run = SimpleNamespace(net=optimizer_cases.model(torch.bfloat16), updates=0, accelerator=Accelerator(cpu=True))
    run.optimizer = optimizer_cases.built(facts, run.net.parameters(), RATE * (facts.rate or 1))
    if way != "nearest":
        Updates(run.optimizer, way == "kahan", 7, lambda: run.updates)
    if divided:
        shards, inner = sharding.Shards(run.optimizer, 2 if way == "kahan" else 0), run.optimizer.step
        run.optimizer.step = lambda *given: shards.step(inner, *given)
    return run


def train(run, updates: int) -> None:
    """So many updates; every process sees the same data, as if DDP had averaged the gradients."""
    optimizer_cases.train(run.net, _Counting(run), range(run.updates, run.updates + updates))


class _Counting:
    """The optimizer of a run, which counts."""

    def __init__(self, run):
        self.run = run

    def step(self):
        self.run.optimizer.step()
        self.run.updates += 1

    def zero_grad(self, **how):
        self.run.optimizer.zero_grad(**how)


def compared(facts, way: str, updates: int) -> dict:
    """Whether the divided optimizer trained the whole one's bits, and bytes of state, total and of this rank."""
    whole, divided = (trained(facts, way, each) for each in (False, True))
    for run in (whole, divided):
        train(run, updates)
    pairs = zip(whole.net.parameters(), divided.net.parameters(), strict=True)
    start = optimizer_cases.model(torch.bfloat16)
    return {
        "equal": all(one.equal(other) for one, other in pairs),
        "moved": not all(one.equal(p) for one, p in zip(start.parameters(), whole.net.parameters(), strict=True)),
        "total": optimizer_state.size(whole.optimizer),
        "own": optimizer_state.size(divided.optimizer),
        "largest": max(size_of(entries) for entries in whole.optimizer.state.values()),
    }


def size_of(entries: dict) -> int:
    return optimizer_state.size(SimpleNamespace(state={0: entries}))


def saved(facts, way: str, folder: Path) -> None:
    """Train two updates and write what a training state has of the optimizer: divided, and by process 0 whole."""
    whole, divided = (trained(facts, way, each) for each in (False, True))
    for run in (whole, divided):
        train(run, 2)
    divided.accelerator.wait_for_everyone()
    parts.Part(optimizer_shares.file_of(divided), capture.optimizer(divided)).write(folder)
    if divided.accelerator.is_main_process:
        parts.Part("whole/" + optimizer_shares.WHOLE, whole.optimizer.state_dict()).write(folder)
        torch.save(whole.net.state_dict(), folder / "weights.pt")
    divided.accelerator.wait_for_everyone()


def gone_on(facts, way: str, folder: Path) -> dict[str, bool]:
    """Whether what goes on from there, divided or not, trains what a whole one trains from a whole state."""
    wanted = continued(facts, way, folder, folder / "whole", divided=False)
    found = {
        "divided, from shares": continued(facts, way, folder, folder, divided=True),
        "whole, from shares": continued(facts, way, folder, folder, divided=False),
        "divided, from a whole one": continued(facts, way, folder, folder / "whole", divided=True),
    }
    return {name: all(map(torch.equal, net.parameters(), wanted.parameters())) for name, net in found.items()}


def continued(facts, way: str, folder: Path, state: Path, divided: bool) -> torch.nn.Module:
    """The model two updates later; the optimizer's state is read from `state`."""
    run = trained(facts, way, divided)
    run.net.load_state_dict(torch.load(folder / "weights.pt"))
    run.updates = 2
    run.optimizer.load_state_dict(optimizer_shares.read(run, state_in(state)))
    train(run, 2)
    return run.net


def state_in(folder: Path) -> State:
    """A state of the files that lie there."""
    files = {path.name: {} for path in folder.glob("optimizer*.safetensors")}
    return State(folder, Description(2, files=files))


def main(folder: Path, what: str, updates: int = 0, ways=WAYS, names=None) -> None:
    """One process. what: "compare" after so many updates, "save" states, "go on" from those. names: optimizers."""
    accelerator = Accelerator(cpu=True)
    found = {}
    for facts in OPTIMIZERS:
        for way in ways if names is None or facts.name in names else ():
            case, place = f"{facts.name}, {way}", folder / f"{facts.name}, {way}"
            if what == "compare":
                found[case] = compared(facts, way, updates)
            elif what == "go on":
                found[case] = gone_on(facts, way, place)
            else:
                (place / "whole").mkdir(parents=True, exist_ok=True)
                saved(facts, way, place)
    (folder / f"found-{accelerator.process_index}.json").write_text(json.dumps(found))
    settle()


if __name__ == "__main__":
    words = json.loads(sys.argv[1])
    main(Path(words.pop("folder")), **words)
