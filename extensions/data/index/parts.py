"""Reads metadata files into parts of ROWS rows, the first pass, in a work folder from which it can go on.

Everything that stands in the files is kept, bad rows too: which of them may stay is decided afterwards, so that a
build that was refused can be repeated with other policies without reading 14 GB again. Memory is one part's.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from extensions.base.errors import UserError
from extensions.base.progress import progress
from extensions.base.saving import replacing, write_text
from extensions.data.index.entries import entries
from extensions.data.index.fields import json_of
from extensions.data.index.layout import ROWS, VERSION, Source, beside, new_file, part_schema, row_hash
from extensions.data.metadata import Sample, sample_of

PROGRESS = "progress.json"
EXAMPLES = 1_000  # of each kind of finding that the report names


@dataclass
class Progress:
    """What the finished parts hold. source, offset: where reading goes on. bad_sizes: examples. fields: others."""

    sources: list[Source]
    parts: int = 0
    rows: int = 0
    source: int = 0
    offset: int = 0
    bad_sizes: list[str] = field(default_factory=list)
    version: int = VERSION
    fields: list[str] = field(default_factory=list)


class Parts:
    """The parts in a work folder. `len()` is their number; item i is a memory-mapped record batch."""

    def __init__(self, folder: Path, done: Progress):
        self.folder, self.done = folder, done

    def __len__(self) -> int:
        return self.done.parts

    def __getitem__(self, number: int) -> pa.RecordBatch:
        if number >= self.done.parts:
            raise IndexError(number)
        with pa.memory_map(str(self.path(number))) as file:
            return pa.ipc.open_file(file).get_batch(0)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return (self[number] for number in range(len(self)))

    def path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.arrow"

    def column(self, name: str) -> np.ndarray:
        """One fixed-width column of all rows, in memory: 4 or 8 bytes a row."""
        return np.concatenate([part.column(name).to_numpy() for part in self])

    def remove(self) -> None:
        """Delete the work folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def read(sources: list[Path], index: Path, folders: bool = False, fields: Sequence[str] = ()) -> Parts:
    """Return all rows of the sources, in order. UserError: a source that is malformed, or changes meanwhile.

    folders: the keys of a jsonl keep theirs, and the rows are for no index. fields: other fields to be kept.
    """
    now = [Source.of(path) for path in sources]
    parts = Parts(beside(index, "part"), resumed(beside(index, "part"), now, list(fields)))
    if parts.done.source < len(sources):
        append(parts, sources, now, folders)
    return parts


def resumed(folder: Path, sources: list[Source], fields: list[str]) -> Progress:
    """Return what an interrupted pass over the very same files has done; otherwise an empty folder."""
    try:
        found = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        same = found["sources"] == [asdict(each) for each in sources] and found.get("fields", []) == fields
        if found["version"] == VERSION and same:
            return Progress(**found | {"sources": sources})
    except (OSError, ValueError, KeyError, TypeError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Progress(sources, fields=fields)


def append(parts: Parts, sources: list[Path], now: list[Source], folders: bool) -> None:
    """Read on from where the parts end."""
    done, starts = parts.done, list(accumulate((each.bytes for each in now), initial=0))
    if done.rows:
        print(f"going on after {done.rows:,} images that were read before", flush=True)
    with progress(f"reading {sources[0].name}", starts[-1], "images", starts[done.source] + done.offset) as advance:
        rows: list[tuple] = []

        def reached(start: int, end: int) -> None:
            advance(start + end, done.rows)

        for number in range(done.source, len(sources)):
            append_source(parts, sources[number], number, rows, partial(reached, starts[number]), folders)
            require_unchanged(sources[number], now[number])
        finish_part(parts, rows, len(sources), 0)
        advance(starts[-1], done.rows)


def append_source(
    parts: Parts, path: Path, number: int, rows: list[tuple], advance: Callable[[int], None], folders: bool
) -> None:
    """Add the rest of one file's entries to `rows`; a part is written whenever these are ROWS."""
    done = parts.done
    begin = end = done.offset if done.source == number else 0
    for key, entry, end in entries(path, begin, folders):  # noqa: B007, PLW2901 - where the last one ended is asked below
        sample, bad = sample_of(path, key, entry)
        if bad and len(done.bad_sizes) < EXAMPLES:
            done.bad_sizes.append(f"{path.name}: {bad}")
        rows.append(row_of(sample) + json_of(path, key, entry, done.fields))
        if len(rows) == ROWS:
            finish_part(parts, rows, number, end)
            advance(end)
    if end == 0:
        raise UserError(f"{path} lists no images; it must be an object of id: {{tags, caption, train_resolution}}")


def row_of(sample: Sample) -> tuple:
    """Return a row of PART."""
    key = sample.key
    key_hash = xxhash.xxh3_64_intdigest(key.encode())
    return key, sample.tags, sample.caption, sample.width, sample.height, key_hash, row_hash(sample)


def finish_part(parts: Parts, rows: list[tuple], source: int, offset: int) -> None:
    """Write the collected rows, and then that they are there and where reading goes on."""
    done = parts.done
    if rows:
        schema = part_schema(done.fields)
        columns = zip(zip(*rows, strict=True), schema.types, strict=True)
        batch = pa.record_batch([pa.array(values, kind) for values, kind in columns], schema=schema)
        with replacing(parts.path(done.parts)) as temporary, new_file(temporary, schema) as file:
            file.write_batch(batch)
        done.parts, done.rows = done.parts + 1, done.rows + len(rows)
        rows.clear()
    done.source, done.offset = source, offset
    write_text(parts.folder / PROGRESS, json.dumps(asdict(done), ensure_ascii=False))


def require_unchanged(path: Path, was: Source) -> None:
    """Raise UserError where a file was written to while it was read."""
    if Source.of(path) != was:
        raise UserError(f"{path} changed while it was indexed; start again when it is whole")
