"""Reading cached latents: npz files, a pack, and plain reads of the pack's bytes, which no reader can beat.

    .venv/bin/python -m benchmarks.latents [--images 1000] [--rounds 7] [--size 1024] [--dtype keep]

One worker reads every sample once a round in a new random order, through the stores that a trainer reads through. The
ways take turns, who goes first changes every round, and only ratios within a round are compared. `mapped` reads the
pack through a map of its shards instead, with the same checksum: what `pack/store.py` gives up, for the reasons that
stand there. `npz` is this project's reader, which also looks for NaN and for another size; `sd-scripts`, where it is
present, upstream's own. Everything is in the page cache: what the processor does is measured, not a disk.
"""

import argparse
import json
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from extensions.base.errors import UserError
from extensions.base.paths import SUBMODULE
from extensions.base.reporting import exit_code_of
from extensions.data import npz, store
from extensions.data.index import Index, open_for
from extensions.data.pack import make
from extensions.data.pack.layout import STORED
from extensions.data.pack.places import split
from extensions.data.pack.plan import KEEP
from extensions.data.pack.store import PackedStore
from extensions.upstream.submodule import is_present

PLAIN, PACKED, NPZ = "plain reads", "pack", "npz"
OF_PLAIN, OF_NPZ = 0.8, 5  # targets: share of plain reads, times npz


@dataclass(frozen=True)
class Turn:
    """One way's round. seconds: on the clock; cpu: of this process."""

    seconds: float
    cpu: float


def make_set(folder: Path, images: int, size: int) -> Index:
    """float32 latents of one bucket as npz files, and their index."""
    (folder / "npz").mkdir()
    draw, entries = np.random.default_rng(0), {}
    for number in range(images):
        key = f"{number:08d}"
        array = draw.normal(0, 5, (4, size // 8, size // 8)).astype(np.float32)
        sizes = {"original_size": np.array([size, size]), "crop_ltrb": np.array([0, 0, size, size])}
        np.savez(folder / "npz" / f"{key}.npz", latents=array, **sizes)
        entries[key] = {"train_resolution": [size, size]}
    meta = folder / "meta_lat.json"
    meta.write_text(json.dumps(entries))
    return open_for(meta, folder / "npz")


def ways(folder: Path, images: Index) -> dict[str, Callable[[int], object]]:
    """What reads a row in each way."""
    packed, npz = PackedStore(folder / "pack", images), store.open_store(folder / "npz", images)
    samples = [images[row] for row in range(len(images))]
    places, shards = packed.places, packed.shards

    def plain(row: int) -> np.ndarray:
        shard, record = split(int(places[row]))
        buffer = np.empty(shards.pack.layout(shard).record_bytes, np.uint8)
        os.preadv(shards.file(shard), [buffer], record * len(buffer))
        return buffer

    def checksummed(row: int) -> bool:
        return shards.pack.layout(split(int(places[row]))[0]).intact(plain(row))

    return {
        PLAIN: plain,
        "with checksum": checksummed,
        PACKED: lambda row: packed.read(row, samples[row]),
        "mapped": mapped(packed),
        NPZ: lambda row: npz.read(row, samples[row]),
    } | ({"sd-scripts": upstream(folder / "npz", samples)} if is_present() else {})


def upstream(folder: Path, samples: list) -> Callable[[int], object]:
    """An npz by the function that upstream's data set calls."""
    sys.path.insert(0, str(SUBMODULE))
    from library.strategy_sd import SdSdxlLatentsCachingStrategy

    strategy = SdSdxlLatentsCachingStrategy(
        sd=False, cache_to_disk=True, batch_size=1, skip_disk_cache_validity_check=True
    )

    def read(row: int) -> object:
        sample = samples[row]
        return strategy.load_latents_from_disk(npz.path_of(folder, sample.key), (sample.width, sample.height))

    return read


def mapped(packed: PackedStore) -> Callable[[int], object]:
    """The pack through maps of its shards: no copy, but the latents are the file's own pages."""
    shards, maps = packed.shards, {}

    def read(row: int) -> object:
        shard, record = split(int(packed.places[row]))
        if shard not in maps:
            file = shards.file(shard)
            maps[shard] = mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        layout = shards.pack.layout(shard)
        start = record * layout.record_bytes
        page = start // mmap.PAGESIZE * mmap.PAGESIZE
        maps[shard].madvise(mmap.MADV_WILLNEED, page, start - page + layout.record_bytes)
        view = np.frombuffer(maps[shard], np.uint8, layout.record_bytes, start)
        if not layout.intact(view):
            raise UserError(f"{shards.name(shard)}: a record of the benchmark's own pack is corrupt")
        return layout.decode(view)

    return read


def measure(readers: dict, rows: int, rounds: int) -> list[dict[str, Turn]]:
    """Rounds of one turn a way."""
    found, draw = [], np.random.default_rng(1)
    for number in range(-1, rounds):
        turns, names = {}, list(readers)
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            turns[name] = turn(readers[name], draw.permutation(rows).tolist())
        if number >= 0:  # the first fills the page cache
            found.append(turns)
    return found


def turn(read: Callable[[int], object], order: list[int]) -> Turn:
    """Read every row once."""
    clock, cpu = time.perf_counter(), time.process_time()
    for row in order:
        read(row)
    return Turn(time.perf_counter() - clock, time.process_time() - cpu)


def table(found: list[dict[str, Turn]], rows: int, title: str) -> Table:
    """Medians of the rounds, and the ratios of samples/s to plain reads and to npz."""
    made = Table("", "samples/s", "CPU µs a sample", "of plain reads", "times npz", title=title)
    for name in found[0]:
        rate = statistics.median(rows / turns[name].seconds for turns in found)
        cpu = statistics.median(turns[name].cpu / rows * 1e6 for turns in found)
        made.add_row(name, f"{rate:,.0f}", f"{cpu:.1f}", ratios(found, name, PLAIN), ratios(found, name, NPZ))
    return made


def ratios(found: list[dict[str, Turn]], name: str, other: str) -> str:
    """ "0.85 (0.80 to 0.91)": samples/s of one way over another's, within the rounds."""
    each = sorted(turns[other].seconds / turns[name].seconds for turns in found)
    return f"{statistics.median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"


def verdict(found: list[dict[str, Turn]]) -> str:
    """The targets, met or not."""
    plain, npz = (
        statistics.median(turns[other].seconds / turns[PACKED].seconds for turns in found) for other in (PLAIN, NPZ)
    )
    said = (f"{plain:.2f} of plain reads (target {OF_PLAIN})", plain >= OF_PLAIN)
    more = (f"{npz:.1f} x npz (target {OF_NPZ})", npz >= OF_NPZ)
    return "; ".join(f"{text}: {'met' if met else 'not met'}" for text, met in (said, more))


def main(arguments: list[str]) -> int:
    """Measure and print. The figures are no test: the exit code does not depend on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=1024, help="side of the one bucket, pixels")
    parser.add_argument("--dtype", choices=[KEEP, *STORED], default=KEEP, help="of the pack; the npz are float32")
    asked = parser.parse_args(arguments)
    if min(asked.images, asked.rounds) < 1 or asked.size % 64:
        raise UserError("give 1 or more --images and --rounds, and a --size in steps of 64")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = make_set(folder, asked.images, asked.size)
        make.make(images, make.Wish(folder / "npz", folder / "pack", asked.dtype), 1)
        found = measure(ways(folder, images), len(images), asked.rounds)
        title = f"{asked.images} images, {asked.size}x{asked.size}, pack: {asked.dtype}, {asked.rounds} rounds"
        Console(width=118).print(table(found, len(images), title))
    print(verdict(found))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
