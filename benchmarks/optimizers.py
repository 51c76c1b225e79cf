"""What an optimizer step costs with each way of rounding bf16 weights.

    .venv/bin/python -m benchmarks.optimizers [--rounds 7] [--optimizers AdamW8bit,Lion,AdaFactor] [--lengths]

A transformer block's worth of SDXL's tensors in bf16, one thread, no forward or backward pass. The three ways take
turns and who goes first changes every round; only ratios within a round are compared. A run's optimizer step
comes once in `--gradient_accumulation_steps` micro-steps, so that its share of a run is smaller than it looks here.
--lengths: how long each optimizer's update is at one learning rate, for docs/optimizers.md.
"""

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from extensions.flags.literals import literals
from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers.updates import Updates
from extensions.reference import optimizers

WAYS = ("nearest", "stochastic", "kahan")
WIDTH = 1280
BLOCK = [(WIDTH, WIDTH)] * 6 + [(WIDTH, 2048)] * 2 + [(8 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)] + [(WIDTH,)] * 12


def built(facts: optimizer_facts.Facts, parameters: list, **more):
    """The optimizer of a row of the table, at 1e-6 where it takes a rate."""
    name, *words = facts.flag.split()
    rate = None if facts.rate is None else 1e-6
    return optimizers.class_of(name)(parameters, lr=rate, **literals("optimizer_args", words), **more)


def length(facts: optimizer_facts.Facts, steps=300, noise=10 / 3) -> float:
    """RMS of an update over the learning rate, with gradients whose noise is so many times their mean."""
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(96, 96) * 0.02)
    made = built(facts, [parameter])
    mean, moved = torch.randn(96, 96) / noise, []
    for _ in range(steps):
        before = parameter.detach().clone()
        parameter.grad = 1e-3 * (mean + torch.randn(96, 96))
        made.step()
        moved.append((parameter.detach() - before).square().mean().sqrt().item())
    return statistics.mean(moved[-100:]) / 1e-6


def prepared(facts: optimizer_facts.Facts, how: str):
    """An optimizer over the block's tensors, with gradients, one step done (it makes its state then)."""
    parameters = [torch.nn.Parameter((torch.randn(shape) * 0.02).bfloat16()) for shape in BLOCK]
    made = built(facts, parameters)
    done = iter(range(10**9))
    if how != "nearest":
        Updates(made, how == "kahan", 0, lambda: next(done))
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape).bfloat16()
    made.step()
    return made


def seconds(made) -> float:
    """One step."""
    start = time.perf_counter()
    made.step()
    return time.perf_counter() - start


def measure(facts: optimizer_facts.Facts, rounds: int) -> dict[str, list[float]]:
    """Seconds a step of each way, one entry a round."""
    ready = {how: prepared(facts, how) for how in WAYS}
    times = {how: [] for how in WAYS}
    for number in range(rounds):
        for place in range(len(WAYS)):
            how = WAYS[(number + place) % len(WAYS)]
            times[how].append(seconds(ready[how]))
    return times


def time_table(names: list[str], rounds: int) -> Table:
    """Milliseconds a step, and medians of the ratios within a round."""
    table = Table("optimizer", *(f"{how}, ms" for how in WAYS), *(f"{how} / nearest" for how in WAYS[1:]))
    for name in names:
        times = measure(optimizer_facts.of_flag(name), rounds)
        milliseconds = [f"{1000 * statistics.median(times[how]):.0f}" for how in WAYS]
        pairs = [zip(times[how], times["nearest"], strict=True) for how in WAYS[1:]]
        ratios = [statistics.median(one / other for one, other in pair) for pair in pairs]
        table.add_row(name, *milliseconds, *(f"{ratio:.2f}" for ratio in ratios))
    return table


def length_table() -> Table:
    """The update's length at one rate, of every optimizer that takes one."""
    lengths = {facts.name: length(facts) for facts in optimizer_facts.OPTIMIZERS if facts.rate is not None}
    table = Table("optimizer", "RMS of an update / rate", "times AdamW's")
    for name, value in lengths.items():
        table.add_row(name, f"{value:.2f}", f"{value / lengths['AdamW']:.1f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--optimizers", default="AdamW8bit,Lion,AdaFactor")
    parser.add_argument("--lengths", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.lengths:
        Console().print(length_table())
        return
    elements = sum(torch.Size(shape).numel() for shape in BLOCK)
    Console().print(f"{elements:,} bf16 parameters, medians of {asked.rounds} rounds, torch {torch.__version__}")
    Console().print(time_table(asked.optimizers.split(","), asked.rounds))


if __name__ == "__main__":
    main()
