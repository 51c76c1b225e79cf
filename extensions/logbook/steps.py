"""Computes how many optimizer steps a run takes, by upstream's arithmetic.

Three counts that are easily mixed up, each under its own name: *samples* are images over all processes;
a *micro-step* is one forward and backward pass on one process; an *optimizer step* is one update of the
weights. Batch size 1 makes the number of batches exact; above it, each bucket's last batch may be short.
"""

from dataclasses import dataclass
from math import ceil

# Images a dataset, by alias. The records give the large one only as 12,446,6xx and 777,917 optimizer
# steps; this is the most images that make that many steps (12,446,657 would be the least).
IMAGES = {"20": 20, "6k": 6_224, "6k_sd2": 6_224, "12.4M": 12_446_672}


@dataclass(frozen=True)
class Counts:
    """A whole schedule: images over all processes, passes of one process, updates of the weights."""

    samples: int
    micro_steps: int
    optimizer_steps: int


def count(images: int, epochs: int, gpus: int = 1, batch_size: int = 1, accumulation: int = 1) -> Counts:
    """Counts of a run. accumulation: micro-steps an optimizer step. ValueError for anything below 1.

    An epoch ends with an update even when its last group of micro-steps is short, hence the rounding up.
    """
    if min(images, epochs, gpus, batch_size, accumulation) < 1:
        raise ValueError("images, epochs, GPUs, batch size and accumulation are whole numbers from 1 up")
    batches_each = ceil(ceil(images / batch_size) / gpus)
    return Counts(
        samples=images * epochs,
        micro_steps=epochs * batches_each,
        optimizer_steps=epochs * ceil(batches_each / accumulation),
    )


def reached(optimizer_steps: int, images: int, gpus: int = 1, batch_size: int = 1, accumulation: int = 1) -> Counts:
    """Counts of a schedule up to and including an optimizer step; whole epochs count as in `count`."""
    an_epoch = count(images, 1, gpus, batch_size, accumulation)
    epochs, rest = divmod(optimizer_steps, an_epoch.optimizer_steps)
    micro_steps = min(rest * accumulation, an_epoch.micro_steps)
    return Counts(
        samples=epochs * images + min(micro_steps * gpus * batch_size, images),
        micro_steps=epochs * an_epoch.micro_steps + micro_steps,
        optimizer_steps=optimizer_steps,
    )


def segment(total: int, start: int = 0, stop: int | None = None) -> int:
    """Optimizer steps between a segment's start and its stop; never past the schedule's `total`."""
    return max(0, min(total, total if stop is None else stop) - start)
