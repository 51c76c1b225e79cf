"""One rank of `benchmarks.index`: opens the metadata, forks its loader workers, reads, and prints what it took.

    python -m benchmarks.index_probe ours|upstream META DATA WORKERS READS

Prints one JSON object: seconds to open, and seconds of the processor for it; bytes of anonymous memory that opening
took; microseconds of a random row (median, in cache); and anonymous bytes of the rank and its workers together once
all of them have read, less what the rank had before (both import other things).
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

Row = Callable[[int], object]


def anonymous(process: int | str = "self") -> int:
    """Bytes of anonymous memory; a page that n processes share counts as an n-th in each."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))


def ours(meta: str, data: str) -> tuple[int, Row, Callable[[], None]]:
    """(images, the reading of one row, what a worker does at an epoch's begin)."""
    from extensions.data import index

    opened = index.open_for(meta, data)
    return len(opened), opened.__getitem__, lambda: None


def upstream(meta: str, data: str) -> tuple[int, Row, Callable[[], None]]:
    """The same of upstream's data set, with its buckets made as its trainers make them."""
    from extensions.base.paths import SUBMODULE

    sys.path.insert(0, str(SUBMODULE))
    from library import strategy_base, strategy_sd, train_util

    strategy_base.LatentsCachingStrategy.set_strategy(strategy_sd.SdSdxlLatentsCachingStrategy(False, True, 1, True))
    subset = train_util.FineTuningSubset(
        image_dir=data, metadata_file=meta, alpha_mask=False, num_repeats=1, shuffle_caption=False,
        caption_separator=",", keep_tokens=0, keep_tokens_separator="", secondary_separator=None,
        enable_wildcard=False, color_aug=False, flip_aug=False, face_crop_aug_range=None, random_crop=False,
        caption_dropout_rate=0.0, caption_dropout_every_n_epochs=0, caption_tag_dropout_rate=0.0,
        caption_prefix=None, caption_suffix=None, token_warmup_min=1, token_warmup_step=0,
    )  # fmt: skip
    made = train_util.FineTuningDataset(
        [subset], 1, (1024, 1024), 1.0, True, 256, 2048, 64, False, False, None, 0.0, None
    )
    made.set_seed(0)
    made.make_buckets()
    keys = list(made.image_data)
    return len(keys), lambda row: made.image_data[keys[row]].caption, lambda: made.set_current_epoch(1)


def prepared(which: str) -> Callable:
    """The function, with everything imported that is not of its own cost."""
    logging.disable()
    if which == "upstream":
        from extensions.base.paths import SUBMODULE

        sys.path.insert(0, str(SUBMODULE))
        from library import strategy_sd, train_util  # noqa: F401
    else:
        from extensions.data import index  # noqa: F401
    return {"ours": ours, "upstream": upstream}[which]


def microseconds(row: Row, images: int, reads: int) -> float:
    """A row's median of the second reading of the same random rows."""
    draw = random.Random(1)
    rows = [draw.randrange(images) for _ in range(reads)]
    taken = []
    for _ in range(2):
        taken = []
        for number in rows:
            began = time.perf_counter()
            row(number)
            taken.append(time.perf_counter() - began)
    return 1e6 * statistics.median(taken)


def worker(row: Row, begin: Callable[[], None], images: int, reads: int, seed: int, barrier) -> None:
    """Begin an epoch, read random rows, and stay until all was measured."""
    begin()
    draw = random.Random(seed)
    for _ in range(reads):
        row(draw.randrange(images))
    barrier.wait()  # all have read
    barrier.wait()  # the rank has measured


def together(row: Row, begin, images: int, workers: int, reads: int) -> int:
    """Anonymous bytes of this process and its workers."""
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(workers + 1)
    arguments = [(row, begin, images, reads, seed, barrier) for seed in range(workers)]
    processes = [fork.Process(target=worker, args=each) for each in arguments]
    for process in processes:
        process.start()
    barrier.wait()
    total = sum(anonymous(process.pid) for process in processes) + anonymous()
    barrier.wait()
    for process in processes:
        process.join()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=("ours", "upstream"))
    parser.add_argument("meta")
    parser.add_argument("data")
    parser.add_argument("workers", type=int)
    parser.add_argument("reads", type=int)
    asked = parser.parse_args()
    make, before = prepared(asked.which), anonymous()
    began, cpu = time.monotonic(), time.process_time()
    images, row, begin = make(asked.meta, asked.data)
    found = {"open": time.monotonic() - began, "cpu": time.process_time() - cpu, "opened": anonymous() - before}
    found["row"] = microseconds(row, images, asked.reads)
    found["together"] = together(row, begin, images, asked.workers, asked.reads) - before
    os.write(1, json.dumps(found).encode() + b"\n")


if __name__ == "__main__":
    main()
