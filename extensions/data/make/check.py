"""Checks every latent of a data set: python -m extensions.data.make.check META DATA (make check-data).

Shape against bucket, finite, checksum, over processes. What is bad is listed, never moved or deleted: `corrupt.txt`
has the ids that cannot be trained on, one a line, as they are found (`make index EXCLUDE=` leaves them out);
`report.json` counts and reasons, once all are read. Nothing is kept in memory of what was read: any number of images
may be bad.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, TextIO

import numpy as np
import pyarrow as pa
import typer

from extensions.base.errors import UserError
from extensions.base.paths import CHECKS, require_apart, shown
from extensions.base.reporting import exit_code_of_app
from extensions.base.saving import replacing, writing
from extensions.data import ids, npz, parallel
from extensions.data.index import open_for
from extensions.data.latents import CorruptSample
from extensions.data.pack import header, is_pack
from extensions.data.pack.places import NOWHERE, located
from extensions.data.pack.store import Shards

CORRUPT, MISSING = "corrupt", "missing"
AT_ONCE = 1024  # images a task
FOUND_BAD = 1  # exit code

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Task:
    """Some images. sizes: (width, height) of each one's bucket; places: of their records, None for npz files."""

    folder: Path
    keys: list[str]
    sizes: list[tuple[int, int]]
    places: list[int] | None


def check(index, folder: Path, out: Path, jobs: int) -> dict:
    """Read everything; write corrupt.txt and report.json to the new folder `out`. The report without its list.

    UserError: no such folder, an unfinished pack, a pack's shard missing, a disk that is full: what was found until
    then is in corrupt.txt.
    """
    if not folder.is_dir():
        raise UserError(f"no such folder of latents: {folder}")
    require_apart(out, folder, "folder of latents")
    began = time.monotonic()
    tasks = tasks_of(index, folder)
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"the report's folder {out} cannot be made ({error.strerror}); give another OUT") from None
    advice = f"make room, or give another OUT, and check again; what was found so far is in {out}/corrupt.txt"
    with (
        writing(out, advice),
        replacing(out / "report.json") as temporary,
        open(temporary, "w", encoding="utf-8") as report,
    ):
        with open(out / "corrupt.txt", "w", encoding="utf-8", buffering=1) as listed:
            counts = put_down(parallel.run(read, tasks, jobs, len(index), "checking"), report, listed)
        facts = {"folder": str(folder), "images": len(index), "good": len(index) - counts.total()}
        facts |= {kind: counts[kind] for kind in (CORRUPT, MISSING)}
        facts |= {"pack": is_pack(folder), "seconds": round(time.monotonic() - began, 1)}
        report.write(",\n" + json.dumps(facts)[1:] + "\n")
    return facts


def put_down(results: Iterator[list], report: TextIO, listed: TextIO) -> Counter[str]:
    """Write what is bad as it comes, to the report's list and to the list of ids; how many of each kind."""
    counts: Counter[str] = Counter()
    report.write('{"bad": [')
    for key, kind, reason in chain.from_iterable(results):
        listed.write(ids.line(key))
        entry = json.dumps({"id": key, "kind": kind, "reason": reason}, ensure_ascii=False)
        report.write((",\n" if counts else "\n") + entry)
        counts[kind] += 1
    report.write("]")
    return counts


def tasks_of(index, folder: Path) -> Iterator[Task]:
    """Return all images: npz files in row order, records in the order of the shards, which a disk reads faster."""
    keys, sizes = pa.concat_arrays(list(index.keys())), index.buckets
    places = located(folder, header.read(folder), index) if is_pack(folder) else None
    order = np.arange(len(index)) if places is None else np.argsort(places, kind="stable")
    return (
        Task(
            folder,
            keys.take(pa.array(rows)).to_pylist(),
            [sizes[number] for number in index.bucket[rows]],
            None if places is None else places[rows].tolist(),
        )
        for rows in (order[start : start + AT_ONCE] for start in range(0, len(order), AT_ONCE))
    )


def read(task: Task) -> list[tuple[str, str, str]]:
    """Return (id, CORRUPT or MISSING, reason) of each image of a task that cannot be read."""
    bad = []
    for position, (key, size) in enumerate(zip(task.keys, task.sizes, strict=True)):
        try:
            read_one(task, position, key, *size)
        except CorruptSample as error:
            bad.append((key, CORRUPT, str(error)))
        except UserError as error:
            bad.append((key, MISSING, str(error)))
        parallel.tick()
    return bad


def read_one(task: Task, position: int, key: str, width: int, height: int) -> None:
    """Read one image. CorruptSample or UserError where it cannot be trained on."""
    if task.places is None:
        npz.load(task.folder, key, width, height)
    elif task.places[position] == NOWHERE:
        raise UserError(f"{task.folder} has no record of {key!r}; pack again, or take it out of the metadata")
    else:
        shards(task.folder).read(task.places[position], key, width, height)


@lru_cache(maxsize=1)
def shards(folder: Path) -> Shards:
    """Return the records of a pack, opened once a process."""
    return Shards(folder, header.read(folder))


@app.command()
def main(
    meta: Annotated[Path, typer.Argument(help="metadata, or an index of them")],
    data: Annotated[Path, typer.Argument(help="folder of <id>.npz, or a pack")],
    jobs: Annotated[int, typer.Option(help="processes")] = 1,
    out: Annotated[Path | None, typer.Option(help="a new folder for report.json and corrupt.txt")] = None,
) -> None:
    """Open every latent of a data set. Exit code 1 where some are bad."""
    folder = out or CHECKS / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    found = check(open_for(meta, None), data, folder, jobs)
    counts = ", ".join(f"{found[kind]:,} {kind}" for kind in ("good", CORRUPT, MISSING))
    print(f"{found['images']:,} images: {counts}; {shown(folder)}/report.json")
    if found["good"] < found["images"]:
        listed = f"{shown(folder)}/corrupt.txt"
        print(
            f"listed in {listed}; nothing was moved or deleted; make index … EXCLUDE={listed} leaves them out of "
            "runs that begin; one that has begun goes on exactly with the data it has, and --bad_sample=skip"
        )
        raise typer.Exit(FOUND_BAD)


if __name__ == "__main__":
    sys.exit(exit_code_of_app(app, sys.argv[1:]))
