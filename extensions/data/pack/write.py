"""Writes one shard: to a temporary name, in blocks that are synced, read back and compared with their npz.

A block's pages are dropped from memory after the sync, so that what is compared comes from the disk.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from extensions.base.errors import UserError
from extensions.base.saving import replacing, write_text, writing
from extensions.data import npz, parallel
from extensions.data.latents import CorruptSample, Latents
from extensions.data.pack import UNFINISHED
from extensions.data.pack.layout import STORED, Layout, lowered

BLOCK = 1 << 27  # bytes that are compared while their npz files are still in the page cache
SKIP, STOP = "skip", "stop"
GOES_ON = "make room, then the same command again goes on: finished shards are kept"


@dataclass(frozen=True)
class Task:
    """One shard to be written. keep: no value may change; bad: what becomes of a corrupt npz, SKIP or STOP."""

    source: Path
    folder: Path
    file: str
    layout: Layout
    keys: list[str]
    keep: bool
    bad: str

    @property
    def note(self) -> Path:
        """What became of the shard: {"records": n, "left_out": [[key, reason], …], "sources": `sources_of`}."""
        return self.folder / UNFINISHED / f"{self.file}.json"


def write(task: Task) -> str:
    """Write a shard whole or not at all; its file's name.

    UserError: corrupt npz with STOP, a value that the dtype cannot hold, disk full, a record that reads back other
    than it was written.
    """
    path, written, sources = task.folder / task.file, 0, sources_of(task.source, task.keys)
    left_out: list[list[str]] = []
    with writing(path, GOES_ON), replacing(path) as temporary, open(temporary, "w+b") as file:
        for start in range(0, len(task.keys), block_of(task.layout)):
            kept = append(file, task, task.keys[start : start + block_of(task.layout)], left_out)
            sync(file)
            verify(file, task, written, kept)
            written += len(kept)
        write_text(task.note, json.dumps({"records": written, "left_out": left_out, "sources": sources}))
    return task.file


def sources_of(source: Path, keys: Iterable[str]) -> str:
    """Compute the xxh3-64 of bytes and times of change of npz files, by which a finished shard is kept."""
    hasher = xxhash.xxh3_64()
    for key in keys:
        with suppress(OSError):  # whoever reads it says that it is missing
            facts = npz.path_of(source, key).stat()
            hasher.update(f"{key} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return hasher.hexdigest()


def block_of(layout: Layout) -> int:
    """Records a block."""
    return max(1, BLOCK // layout.record_bytes)


def append(file, task: Task, keys: list[str], left_out: list[list[str]]) -> list[str]:
    """Write the records of some keys at the end; the keys that were written."""
    kept = []
    for key in keys:
        try:
            stored, found = stored_of(task, key)
        except CorruptSample as error:
            if task.bad == STOP:
                raise UserError(f"{error}; BAD=skip leaves such images out, `make check-data` lists them") from None
            left_out.append([key, str(error)])
            parallel.tick()
            continue
        file.write(task.layout.encode(stored, found.original_size, found.crop))
        kept.append(key)
    return kept


def stored_of(task: Task, key: str) -> tuple[np.ndarray, Latents]:
    """Return (latents as they are stored, the npz). UserError where the file's dtype is to be kept and another."""
    found = npz.load(task.source, key, task.layout.width, task.layout.height)
    kind = found.latents.dtype
    if task.keep and kind.newbyteorder("<") != STORED[task.layout.dtype]:
        path = npz.path_of(task.source, key)
        raise UserError(f"{path} is {kind}, others are {task.layout.dtype}; give DTYPE=float32, float16 or bfloat16")
    try:
        return lowered(found.latents, task.layout.dtype, key), found
    except CorruptSample as error:
        raise UserError(str(error)) from None  # a choice of dtype, not a corrupt file: never skipped


def sync(file) -> None:
    """To the disk, and out of memory."""
    file.flush()
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def verify(file, task: Task, first: int, keys: list[str]) -> None:
    """Compare the records from `first` on with the npz files, read again. UserError where one differs."""
    layout = task.layout
    record = np.empty(layout.record_bytes, np.uint8)
    for number, key in enumerate(keys, start=first):
        read = os.preadv(file.fileno(), [record.data], number * layout.record_bytes)
        stored, found = stored_of(task, key)
        back = layout.decode(record)
        same = back.original_size == found.original_size and back.crop == found.crop
        if read != len(record) or not layout.intact(record) or not same or differs(layout.stored(record), stored):
            raise UserError(
                f"record {number} of {task.file} reads back other than {npz.path_of(task.source, key)}; "
                "check memory and disk, then pack again: nothing was deleted"
            )
        parallel.tick()


def differs(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether any bit differs."""
    return one.tobytes() != other.tobytes()
