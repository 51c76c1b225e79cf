"""What it costs to stand at a step, and to save where a run stands.

    .venv/bin/python -m benchmarks.resume [--rows 12_400_000] [--step 700_000] [--megabytes 1000] [--rounds 5]

Order: CPU seconds until the first batch of an epoch is known, at step 0 and at a late step in turn, at one and at
four images a batch; and, side by side, what PyTorch's sampler with accelerate's `skip_first_batches` takes for the
same (4 processes, accumulation 4). Each measured in a process of its own, so that the peak of memory is its own.

State: a model and an optimizer of so many megabytes together. `held` is how long the training waits for the
copies, `whole` until the state has its name on the disk; both against writing the same bytes with torch.save.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table

from extensions.base.paths import ROOT

PROCESSES, ACCUMULATION = 4, 4
BUCKETS = 25


def peak(before: int) -> int:
    """Bytes of the largest resident set of this process so far, on top of `before`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def resident() -> int:
    """Bytes of this process's resident set now, from which on the peak is counted."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak of imports and made-up data
    return psutil.Process().memory_info().rss


class Rows:
    """A data set as `Places` sees it."""

    def __init__(self, rows: int, batch_size: int):
        self.bucket = (np.arange(rows) * 7919 % BUCKETS).astype(np.int16)
        self.batch_size, self.seed = batch_size, 1

    def __len__(self) -> int:
        from extensions.data.order import batch_count

        return batch_count(self.bucket, self.batch_size)


def ours(rows: int, step: int, batch_size: int) -> dict:
    """Seconds of CPU to the first batch, bytes on top of what was there before, bytes kept."""
    from extensions.data.loader import Places

    dataset, before, began = Rows(rows, batch_size), resident(), time.process_time()
    places = Places(dataset, 0, PROCESSES, ACCUMULATION, {})
    places.begin(0, step)
    next(iter(places))
    order = places.order
    kept = sum(array.nbytes for array in (order.rows, *(order.cut or ())))
    return {"seconds": time.process_time() - began, "peak": peak(before), "kept": kept}


def theirs(rows: int, step: int, batch_size: int) -> dict:
    """The same for a shuffled PyTorch loader, prepared for this process and skipped forward by accelerate."""
    from accelerate import skip_first_batches
    from accelerate.data_loader import prepare_data_loader

    before, began = resident(), time.process_time()
    loader = torch.utils.data.DataLoader(range(rows), batch_size=1, shuffle=True, collate_fn=lambda items: items[0])
    loader = prepare_data_loader(loader, torch.device("cpu"), PROCESSES, 0)
    next(iter(skip_first_batches(loader, step * ACCUMULATION)))
    return {"seconds": time.process_time() - began, "peak": peak(before), "kept": 0}


def apart(which: str, *numbers: int) -> dict:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.resume", "--probe", which, *map(str, numbers)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def order_table(rows: int, step: int, rounds: int) -> Table:
    """Both places, both ways, in turn."""
    heads = ("images a batch", "order.py, step 0", f"step {step:,}", "ratio", "peak", "kept", "PyTorch, that step")
    title = f"first batch of an epoch of {rows:,} images"
    table = Table(*heads, "ratio to order.py", title=title)
    for batch_size in (1, 4):
        late = step // batch_size
        found = [[apart("ours", rows, at, batch_size) for at in (0, late)] for _ in range(rounds)]
        first, there = (median(pair[i]["seconds"] for pair in found) for i in (0, 1))
        ratio = median(pair[1]["seconds"] / pair[0]["seconds"] for pair in found)
        other = apart("theirs", rows, late, batch_size)["seconds"] if batch_size == 1 else None
        compared = ("-", "-") if other is None else (f"{other:.2f} s", f"{other / there:.1f}")
        sizes = (f"{found[0][1][name] / 1e6:.0f} MB" for name in ("peak", "kept"))
        table.add_row(str(batch_size), f"{first:.2f} s", f"{there:.2f} s", f"{ratio:.2f}", *sizes, *compared)
    return table


def state_table(megabytes: int, rounds: int) -> Table:
    """Held and whole, against torch.save and a sync."""
    from accelerate import Accelerator

    from extensions.resume.description import Description
    from extensions.resume.writer import Writer

    value = {str(i): torch.randn(megabytes * 1000 // 4 * 10) for i in range(100)}
    table = Table("a state of", "held", "whole", "torch.save and sync", "held / torch.save", "whole / torch.save")
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Path(folder) / "states", 1, Accelerator(cpu=True))
        for number in range(rounds):
            began = time.monotonic()
            writer.save(Description(number), [("all.safetensors", lambda: value)], [0])
            held = time.monotonic() - began
            writer.join()
            whole, began = time.monotonic() - began, time.monotonic()
            with open(Path(folder) / "plain.pt", "wb") as file:
                torch.save(value, file)
                file.flush()
                os.fsync(file.fileno())
            lines.append((held, whole, time.monotonic() - began))
    held, whole, plain = (median(column) for column in zip(*lines, strict=True))
    ratios = (median(line[i] / line[2] for line in lines) for i in (0, 1))
    table.add_row(
        f"{megabytes:,} MB", f"{held:.2f} s", f"{whole:.2f} s", f"{plain:.2f} s", *(f"{r:.2f}" for r in ratios)
    )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=12_400_000)
    parser.add_argument("--step", type=int, default=700_000)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--probe", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.probe:
        which, *numbers = args.probe
        print(json.dumps({"ours": ours, "theirs": theirs}[which](*map(int, numbers))))
        return
    console = Console(width=160)
    console.print(order_table(args.rows, args.step, args.rounds))
    console.print(state_table(args.megabytes, args.rounds))


if __name__ == "__main__":
    main()
