"""What benchmarks.full_size reads off a training process, its card, and two training states."""

import os
import shutil
import statistics
import subprocess
from pathlib import Path

import xxhash

from extensions.base import digests
from extensions.flags.words import Flags
from extensions.plan import recorded, vram, vram_fit

SHOWN = ("memory.used", "utilization.gpu", "power.draw", "clocks.sm")  # MiB, %, W, MHz


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
        rows = [[float(cell) for cell in row] for row in rows if len(row) == len(SHOWN)]
        return {name: max(column) for name, column in zip(SHOWN, zip(*rows, strict=True), strict=False)}


def figures(probe: dict, began: float) -> dict:
    """Speed of the steady micro-steps, memory, losses. A micro-step here includes its share of the optimizer step."""
    steps = probe["micro_steps"]
    found = {"imports_seconds": probe["imported"] - began, "micro_steps": len(steps)}
    if len(steps) < 6:
        return found
    took = [b["at"] - a["at"] for a, b in zip(steps, steps[1:], strict=False)]
    steady = took[3:]  # from the second optimizer step on
    found |= {
        "first_micro_step_seconds": steps[0]["at"] - probe["began"],
        "median_micro_step_seconds": statistics.median(steady),
        "images_per_second": len(steady) * steps[0]["latents"][0] / sum(steady),
        "took": [round(seconds, 4) for seconds in took],
        "losses": [step["loss"] for step in steps],
    }
    return found | {name: steps[-1][name] for name in ("allocated_bytes", "reserved_bytes") if name in steps[-1]} | {
        "alloc_retries": steps[-1].get("alloc_retries")
    }  # fmt: skip


def planned(flags: Flags) -> dict:
    """What `make plan` says of one process: bytes by part, and GB that it must have, with the fitted reserve."""
    setup = vram.setup(flags, 1)
    fit = vram_fit.fit(vram_fit.known(recorded.read().readings))
    return {"parts": vram.parts(setup), "need_gb": vram.need(setup, fit), "reserve_gb": fit.reserve}


def equal(one: Path, other: Path) -> dict:
    """The files of two training states, compared."""
    files = sorted(one.rglob("*.safetensors"))
    pairs = [(path, other / path.relative_to(one)) for path in files]
    unequal = [pair for pair in pairs if len({digests.of_file(path, xxhash.xxh3_128()) for path in pair}) > 1]
    return {"files": len(files), "different": [difference(*pair) for pair in unequal]}


def difference(one: Path, other: Path) -> dict:
    """How many tensors and elements of two files differ, and by how much at most."""
    from safetensors import safe_open

    tensors = elements = total = 0
    largest = 0.0
    with safe_open(one, "pt") as a, safe_open(other, "pt") as b:
        for name in a.keys():
            left, right = a.get_tensor(name), b.get_tensor(name)
            unequal = int((left != right).sum())
            total += left.numel()
            tensors, elements = tensors + bool(unequal), elements + unequal
            if unequal:
                largest = max(largest, float((left.double() - right.double()).abs().max()))
    return {"file": one.name, "tensors": tensors, "elements": elements, "of": total, "largest": largest}


def card() -> dict:
    """The machine, as far as it matters."""
    import torch

    found = {"torch": torch.__version__, "cuda": torch.version.cuda, "cpus": os.cpu_count()}
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        found |= {"card": facts.name, "card_gb": facts.total_memory / 2**30}
    return found
