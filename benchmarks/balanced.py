"""What the slowest rank of an update costs the others, with the batches as drawn and dealt by cost: simulated.

    .venv/bin/python -m benchmarks.balanced [--rows 12_400_000] [--updates 2000] [--batch 1]

Two made-up mixes of the 25 buckets of the recorded sets, for their own was not kept: aspect ratios are drawn around
one, log-normally, and each goes to its bucket by the sets' rule; the seeds are fixed. The batches of an update are a
run's (`extensions/data/loader.py`), the time of a batch is what the U-Net computes (`extensions/model/flops.py`).

Lost: the share of all ranks' time that is spent waiting. Under DDP they wait once an update, for the rank whose
micro-steps take longest together; under ZeRO-2 in every micro-step. Last column of the first table: as dealt, if time
went by the images' area alone. Second table: CPU time in which a rank knows its batches of an update.
"""

import argparse
import math
import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from rich.console import Console
from rich.table import Table

from extensions.data.buckets import SDXL_AREA, historical
from extensions.data.dealing import AS_DRAWN, DEALT
from extensions.data.loader import Places
from extensions.data.order import batch_count
from extensions.model.flops import unet_mflop

RANKS, ACCUMULATIONS = (4, 8), (1, 4, 16)
DRAWN = 20_000  # aspect ratios; the rows of a mix are copies of them
BUCKETS = historical(SDXL_AREA).buckets


@dataclass(frozen=True)
class Mix:
    """Images by aspect ratio. longer: longer side over shorter, the median; spread: of its logarithm.

    wide: share of landscape.
    """

    name: str
    longer: float
    spread: float
    wide: float

    def buckets(self, rows: int) -> np.ndarray:
        """The bucket's number of each row, int16."""
        draw, rule = np.random.default_rng(1), historical(SDXL_AREA)
        ratios = np.exp(np.abs(draw.normal(math.log(self.longer), self.spread, DRAWN)))
        sides = np.where(draw.random(DRAWN) < self.wide, ratios, 1 / ratios)
        found = [BUCKETS.index(rule.bucket((round(1000 * side), 1000))) for side in sides]
        return draw.choice(np.array(found, np.int16), rows)


MIXES = (Mix("tagged drawings", 1.34, 0.192, 0.25), Mix("photographs, 2:3 and 3:2", 1.5, 0.09, 0.5))


class Rows:
    """A data set as `Places` sees it."""

    trained, seed = None, 1
    metadata = SimpleNamespace(buckets=BUCKETS)

    def __init__(self, bucket: np.ndarray, batch_size: int):
        self.bucket, self.batch_size = bucket, batch_size
        self.count = batch_count(bucket, batch_size)

    def __len__(self) -> int:
        return self.count


def area(width: int, height: int) -> int:
    """Pixels, as a cost."""
    return width * height


def begun(dataset: Rows, ranks: int, accumulation: int, data_order: str) -> Places:
    """Return the places of rank 0 in the first epoch."""
    places = Places(dataset, 0, ranks, accumulation, {}, 0, data_order)
    places.begin(0, 0)
    return places


def took(places: Places, updates: int, cost=unet_mflop) -> np.ndarray:
    """Return what each micro-step of each rank takes: (updates, micro-steps, ranks)."""
    of_bucket = [cost(*size) for size in BUCKETS]
    bucket = places.dataset.bucket
    seen = (place.rows for step in range(updates) for _, _, place in places.global_batch(step))
    costs = [len(rows) * of_bucket[bucket[rows[0]]] for rows in seen]
    return np.array(costs, float).reshape(updates, places.accumulation, places.processes)


def lost(times: np.ndarray) -> tuple[float, float]:
    """Return (under DDP, under ZeRO-2): the share of the ranks' time that is spent waiting."""
    needed = times.sum(axis=(1, 2)).sum() / times.shape[2]
    return 1 - needed / times.sum(axis=1).max(axis=1).sum(), 1 - needed / times.max(axis=2).sum()


def simulated(dataset: Rows, ranks: int, accumulation: int, updates: int) -> list[float]:
    """Return what is lost: DDP as drawn and dealt, ZeRO-2 likewise, and under DDP dealt if time went by area."""
    updates = min(updates, len(dataset) // (ranks * accumulation))
    drawn, dealt = (begun(dataset, ranks, accumulation, which) for which in (AS_DRAWN, DEALT))
    before, after = lost(took(drawn, updates)), lost(took(dealt, updates))
    return [before[0], after[0], before[1], after[1], lost(took(dealt, updates, area))[0]]


def microseconds(places: Places, updates: int) -> float:
    """Return the median CPU time of a rank to know its batches of an update, nothing of it known before."""
    found = []
    for step in range(min(updates, places.steps)):
        began = time.process_time_ns()
        for micro_step in range(places.accumulation):
            places.at(step, micro_step)
        found.append(time.process_time_ns() - began)
    return float(np.median(found)) / 1000


def lost_table(asked, sets: dict[str, Rows]) -> Table:
    """All mixes, ranks and accumulations."""
    heads = ("images", "mean area", "deviation", "ranks", "GA", "DDP: as drawn", "dealt", "ZeRO-2: as drawn", "dealt")
    table = Table(*heads, "DDP, dealt, by area", title=f"lost to the slowest rank, {asked.updates:,} updates")
    for name, dataset in sets.items():
        areas = np.array([area(*size) for size in BUCKETS])[dataset.bucket] / SDXL_AREA
        about = (name, f"{areas.mean():.3f}", f"{areas.std() / areas.mean():.3f} of it")
        for ranks in RANKS:
            for accumulation in ACCUMULATIONS:
                found = simulated(dataset, ranks, accumulation, asked.updates)
                table.add_row(*about, str(ranks), str(accumulation), *(f"{100 * share:.2f} %" for share in found))
    return table


def time_table(asked, dataset: Rows) -> Table:
    """Of the first mix."""
    title = f"µs a rank and update, {len(dataset.bucket):,} images, batch {dataset.batch_size}"
    table = Table("ranks", "GA", "as drawn", "dealt", title=title)
    for ranks in RANKS:
        for accumulation in ACCUMULATIONS:
            both = (begun(dataset, ranks, accumulation, which) for which in (AS_DRAWN, DEALT))
            table.add_row(str(ranks), str(accumulation), *(f"{microseconds(one, asked.updates):.0f}" for one in both))
    return table


def main() -> None:
    """Simulate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=12_400_000)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=1, help="images a rank and micro-step")
    asked = parser.parse_args()
    sets = {mix.name: Rows(mix.buckets(asked.rows), asked.batch) for mix in MIXES}
    console = Console(width=150)
    console.print(lost_table(asked, sets))
    console.print(time_table(asked, next(iter(sets.values()))))


if __name__ == "__main__":
    main()
