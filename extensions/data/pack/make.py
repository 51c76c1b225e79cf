"""Makes a pack: plan, space, shards over processes, then keys.arrow and, last, pack.json."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash
from filelock import Timeout

from extensions.base import digests, locks
from extensions.base.errors import UserError
from extensions.base.saving import replacing, write_text, writing
from extensions.data import ids, parallel
from extensions.data.index.layout import new_file
from extensions.data.pack import HEADER, UNFINISHED, header, plan, write
from extensions.data.pack.plan import Plan
from extensions.data.pack.write import Task

PLANNED = "plan.json"
LEFT_OUT = "left_out.txt"
KEY_BYTES = 64  # a key in keys.arrow and in a map of rows, generously
LOCK = ".make.lock"


@dataclass(frozen=True)
class Wish:
    """What is asked for. dtype: KEEP or a key of STORED; bad: SKIP or STOP; shard_bytes: at most, a shard."""

    source: Path
    folder: Path
    dtype: str = plan.KEEP
    bad: str = write.STOP
    shard_bytes: int = 4 << 30


def make(index, wish: Wish, jobs: int) -> header.Pack:
    """Pack the latents of an index; goes on where an interrupted call stopped. Deletes nothing of the source.

    UserError: a pack is there already, another plan is unfinished there, no room, missing or corrupt npz files.
    """
    if (wish.folder / HEADER).exists():
        raise UserError(f"{wish.folder} holds a finished pack; give another folder, or move it away")
    with writing(wish.folder, "give a folder on a disk with room"):
        wish.folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(wish.folder):
        planned = plan.make(index, wish.source, wish.dtype, wish.shard_bytes)
        with writing(wish.folder, write.GOES_ON):
            begin(wish, planned)
        keys = pa.concat_arrays(list(index.keys()))  # in one piece: taking from many is slow
        tasks_of = partial(task_of, wish, planned, keys)
        pending = [shard for shard in range(len(planned.pack.shards)) if not done(tasks_of(shard))]
        require_room(wish, planned, pending)
        tasks = map(tasks_of, pending)
        total = sum(planned.pack.shards[shard].records for shard in pending)
        for _ in parallel.run(write.write, tasks, jobs, total, "packing"):
            pass
        with writing(wish.folder, write.GOES_ON):
            return finish(wish, planned, keys)


@contextmanager
def one_at_a_time(folder: Path):
    """One process makes a pack at a time; what a killed one left half written is removed."""
    try:
        with locks.held(folder / LOCK, timeout=0):
            for part in folder.glob(".*.part.bin"):
                part.unlink()
            yield
    except Timeout:
        raise UserError(f"another `make pack` is writing to {folder}; wait for it, or give another folder") from None


def begin(wish: Wish, planned: Plan) -> None:
    """Keep the plan, or check that an interrupted call had the same. UserError where it had not."""
    path = wish.folder / UNFINISHED / PLANNED
    text = json.dumps({"bad": wish.bad, "keep": wish.dtype == plan.KEEP, "source": str(wish.source.resolve())})
    text += "\n" + planned.pack.to_json()
    if not path.is_file():
        write_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise UserError(
            f"{wish.folder} holds an unfinished pack of other data, dtype, BAD or shard size; "
            "give the same again, or another folder"
        )


def done(task: Task) -> bool:
    """Tell whether a shard stands under its name, where it was verified first, and its npz are those that it has."""
    found = note(task.note) if (task.folder / task.file).is_file() else None
    if found is None or found.get("sources") == write.sources_of(task.source, task.keys):
        return found is not None
    print(f"{task.file} is packed again: npz files of it have changed since", flush=True)
    return False


def note(path: Path) -> dict | None:
    """Return what was written of a shard and what was left out; None where that is not known."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def require_room(wish: Wish, planned: Plan, pending: list[int]) -> None:
    """Say what will be written. UserError where the disk has not so much left."""
    need = sum(planned.pack.bytes_of(shard) for shard in pending) + KEY_BYTES * planned.pack.images
    free = shutil.disk_usage(wish.folder).free
    what = f"{planned.pack.images:,} images, {planned.pack.dtype}, {len(planned.pack.shards)} shards"
    if need > free:
        raise UserError(
            f"{wish.folder} has {gigabytes(free)} free, the pack ({what}) needs {gigabytes(need)}; "
            "give a larger disk, or DTYPE=float16"
        )
    shards = f"{len(pending)} of them to write" if len(pending) < len(planned.pack.shards) else "all to write"
    print(f"packing {what} ({shards}): {gigabytes(need)}, of {gigabytes(free)} free", flush=True)


def gigabytes(size: int) -> str:
    """ "1.23 GB"; small sets in MB."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"


def task_of(wish: Wish, planned: Plan, keys: pa.Array, shard: int) -> Task:
    """Return a shard's work, with all that a process needs for it."""
    chosen = keys.take(pa.array(planned.rows_of(shard))).to_pylist()
    layout, file = planned.pack.layout(shard), planned.pack.shards[shard].file
    return Task(wish.source, wish.folder, file, layout, chosen, wish.dtype == plan.KEEP, wish.bad)


def finish(wish: Wish, planned: Plan, keys: pa.Array) -> header.Pack:
    """keys.arrow, the list of what was left out, pack.json; then the plan is done with."""
    shards, left_out = [], []
    path = wish.folder / header.KEYS
    with replacing(path) as temporary:
        with new_file(temporary, header.SCHEMA) as file:
            for number, shard in enumerate(planned.pack.shards):
                found = note(wish.folder / UNFINISHED / f"{shard.file}.json")
                assert found is not None  # all shards are done
                left_out += found["left_out"]
                shards.append(replace(shard, records=found["records"]))
                file.write_batch(records_of(planned, keys, number, {key for key, _ in found["left_out"]}))
        digest = digests.of_file(temporary, xxhash.xxh3_64())
    pack = replace(planned.pack, shards=shards, keys_digest=digest, left_out=len(left_out))
    if left_out:
        write_text(wish.folder / LEFT_OUT, "".join(ids.line(key) for key, _ in left_out))
    write_text(wish.folder / HEADER, pack.to_json())
    header.read(wish.folder)
    shutil.rmtree(wish.folder / UNFINISHED)
    return pack


def records_of(planned: Plan, keys: pa.Array, shard: int, left_out: set[str]) -> pa.RecordBatch:
    """Return the rows of keys.arrow for one shard."""
    kept = [key for key in keys.take(pa.array(planned.rows_of(shard))).to_pylist() if key not in left_out]
    columns = [pa.array(kept, pa.string()), pa.array(np.full(len(kept), shard, np.int32))]
    columns.append(pa.array(np.arange(len(kept), dtype=np.int32)))
    return pa.RecordBatch.from_arrays(columns, schema=header.SCHEMA)
