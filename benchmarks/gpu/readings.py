"""Reads a training process: its steady speed, its memory beside the plan's, its card, its states."""

import shutil
import statistics
import subprocess
from pathlib import Path

from extensions.flags.words import Flags
from extensions.plan import recorded, vram, vram_fit

SHOWN = ("memory.used", "utilization.gpu", "power.draw", "clocks.sm")  # MiB, %, W, MHz
OFF_THE_PLAN = 0.1  # of the plan's memory, at most


class Watched:
    """What nvidia-smi shows of the card, four times a second."""

    def __init__(self, path: Path):
        self.path, self.process = path, None

    def __enter__(self):
        self.path.write_text("")
        if shutil.which("nvidia-smi"):
            words = ["nvidia-smi", f"--query-gpu={','.join(SHOWN)}", "--format=csv,noheader,nounits", "-lms", "250"]
            self.process = subprocess.Popen(words, stdout=open(self.path, "w"), stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.wait()

    def peaks(self) -> dict[str, float]:
        """The most of each, over the whole process; {} without a card."""
        rows = [line.split(",") for line in self.path.read_text().splitlines()]
        rows = [[number(cell) for cell in row] for row in rows if len(row) == len(SHOWN)]
        return {name: max(column) for name, column in zip(SHOWN, zip(*rows, strict=True), strict=False)}


def number(cell: str) -> float:
    """What a virtual card does not show ("[N/A]") counts as 0."""
    try:
        return float(cell)
    except ValueError:
        return 0.0


def figures(probe: dict, began: float, timed_from: int, timed_to: int) -> dict:
    """Speed of the steady micro-steps, memory, losses.

    began: time.time() at the start of the process. Micro-steps are timed from number `timed_from` on to `timed_to`,
    whole optimizer steps; each has its share of their updates.
    """
    steps = probe["micro_steps"]
    found = {"imports_seconds": probe["imported"] - began, "micro_steps": len(steps)}
    if not steps:
        return found
    found["first_micro_step_seconds"] = steps[0]["at"] - probe["began"]
    # A micro-step is noted before its backward pass: from note to note goes one backward pass, one forward pass.
    took = [b["at"] - a["at"] for a, b in zip(steps, steps[1:], strict=False)]
    steady = took[timed_from:timed_to]
    if steady:
        found["images_per_second"] = len(steady) * steps[0]["latents"][0] / sum(steady)
        found["median_micro_step_seconds"] = statistics.median(steady)
    found |= {"took": [round(seconds, 4) for seconds in took], "losses": [step["loss"] for step in steps]}
    return found | {
        name: steps[-1][name] for name in ("allocated_bytes", "reserved_bytes", "alloc_retries") if name in steps[-1]
    }


def planned(flags: Flags) -> dict:
    """What `make plan` says of one process: bytes by part, and GB that it must have, with the fitted reserve."""
    setup = vram.setup(flags, 1)
    fit = vram_fit.fit(vram_fit.known(recorded.read().readings))
    return {"parts": vram.parts(setup), "need_gb": vram.need(setup, fit), "reserve_gb": fit.reserve}


def off_the_plan(allocated: int, plan: dict) -> float:
    """How far what was allocated is from the plan's parts, as a share of them."""
    return allocated / sum(plan["parts"].values()) - 1


def difference(one: Path, other: Path) -> dict:
    """How many tensors and elements of two safetensors files differ, and by how much at most."""
    import torch
    from safetensors import safe_open

    tensors = elements = total = 0
    largest = 0.0
    with safe_open(one, "pt") as a, safe_open(other, "pt") as b:
        for name in a.keys():
            left, right = a.get_tensor(name), b.get_tensor(name)
            total += left.numel()
            if torch.equal(left, right):
                continue
            tensors, elements = tensors + 1, elements + int((left != right).sum())
            largest = max(largest, float((left.float() - right.float()).abs().max()))
    return {"tensors": tensors, "elements": elements, "of": total, "largest": largest}
