"""What averages beside the training cost a step: the stand-in's U-Net with and without them, in turns.

    .venv/bin/python -m benchmarks.averages [--steps 20] [--rounds 5] [--every 10]

One plain loop (noise prediction on random latents) in fp32; every round trains so many steps with the averages and as
many without, in turns. The ratio of the medians is what a step costs. On a CPU the thread that averages takes its
time from the training: the least favourable case, and its time of the processor says so on a busy machine, too.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds the package, too

from benchmarks.bf16_updates import loss_of
from extensions.averages import pieces, profiles
from extensions.averages.tracks import Tracks
from extensions.launch import tiny
from extensions.model.models import Models
from extensions.reference import models


def seconds(unet, optimizer, tracks: Tracks | None, steps: int, every: int) -> tuple[float, float]:
    """(By the clock, of the processor) a step, over so many."""
    began, worked = time.perf_counter(), time.process_time()
    first = tracks.updated if tracks else 0
    for step in range(1, steps + 1):
        loss_of(unet, step, torch.float32).backward()
        if tracks:
            tracks.before_step()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if tracks and step % every == 0:
            tracks.update(first + step)
    if tracks:
        tracks.settle()
    return (time.perf_counter() - began) / steps, (time.process_time() - worked) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--every", type=int, default=10)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    unet = models.load(str(tiny.standins()["sdxl"]), "sdxl", torch.float32).models.unet.train()
    whole = Models("sdxl", unet)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-6)
    tracks = Tracks(pieces.divided(pieces.trained(whole), 1), 0, profiles.tracked(None), 0)
    found: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    seconds(unet, optimizer, None, 3, asked.every)
    for number in range(asked.rounds):
        for how in ("without", "with") if number % 2 else ("with", "without"):
            found[how].append(seconds(unet, optimizer, tracks if how == "with" else None, asked.steps, asked.every))
    table = Table("", "seconds a step", "ratio", "of the processor", "ratio")
    medians = {how: [statistics.median(each) for each in zip(*times, strict=True)] for how, times in found.items()}
    for how, (clock, worked) in medians.items():
        ratios = [mine / least for mine, least in zip((clock, worked), medians["without"], strict=True)]
        table.add_row(how, f"{clock:.4f}", f"{ratios[0]:.3f}", f"{worked:.4f}", f"{ratios[1]:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
