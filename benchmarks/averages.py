"""What averages beside the training cost a step: the stand-in's U-Net with and without them, in turns.

    .venv/bin/python -m benchmarks.averages [--steps 40] [--rounds 5] [--every 10]

One plain loop (noise prediction on random latents) in bf16; every round trains so many steps with the averages and as
many without, in turns. The ratio of the medians is what a step costs. On a CPU the thread that averages takes its
time from the training: the least favourable case.
"""

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.bf16_updates import loss_of
from extensions.averages import pieces, profiles
from extensions.averages.tracks import Tracks
from extensions.launch import tiny
from extensions.model.cpu_products import ProductsInFloat32
from extensions.model.models import Models
from extensions.reference import models


def seconds(unet, optimizer, tracks: Tracks | None, steps: int, every: int) -> float:
    """A step, over so many."""
    began = time.perf_counter()
    first = tracks.updated if tracks else 0
    for step in range(1, steps + 1):
        loss_of(unet, step, torch.bfloat16).backward()
        if tracks:
            tracks.before_step()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if tracks and step % every == 0:
            tracks.update(first + step)
    if tracks:
        tracks.settle()
    return (time.perf_counter() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--every", type=int, default=10)
    asked = parser.parse_args()
    unet = models.load(str(tiny.standins()["sdxl"]), "sdxl", torch.bfloat16).models.unet.train()
    whole = Models("sdxl", unet)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-6)
    tracks = Tracks(pieces.divided(pieces.trained(whole), 1), 0, profiles.tracked(None), 0)
    found: dict[str, list[float]] = {"without": [], "with": []}
    with ProductsInFloat32():
        seconds(unet, optimizer, None, 3, asked.every)
        for number in range(asked.rounds):
            for how in ("without", "with") if number % 2 else ("with", "without"):
                found[how].append(
                    seconds(unet, optimizer, tracks if how == "with" else None, asked.steps, asked.every)
                )
    table = Table("", "seconds a step", "ratio")
    least = statistics.median(found["without"])
    for how, times in found.items():
        table.add_row(how, f"{statistics.median(times):.4f}", f"{statistics.median(times) / least:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
