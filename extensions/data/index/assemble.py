"""Assembles the index file, the third pass: the rows that stay, from the parts; memory is two parts'."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from extensions.base.errors import UserError
from extensions.base.progress import progress
from extensions.base.saving import replacing
from extensions.data.index import seal
from extensions.data.index.fields import columns
from extensions.data.index.layout import COLUMNS, FACTS, INDEX, ROWS, Facts, Listed, column_of, new_file
from extensions.data.index.parts import Parts
from extensions.data.index.policies import Policies
from extensions.data.index.verdict import Verdict

NAMES = [*(name for name, _ in COLUMNS), "row_hash"]


def assemble(parts: Parts, verdict: Verdict, policies: Policies, excluded: list[Listed], index: Path) -> Facts:
    """Write the index under its final name, whole or not at all; returns what it says of itself."""
    sizes = [parts.column(name)[verdict.keep] for name in ("width", "height")]
    buckets, numbers, per_bucket = number_buckets(*sizes)
    others = columns(parts, verdict.keep, ROWS)
    facts = Facts(
        rows=len(numbers),
        fingerprint=fingerprint(parts.column("row_hash")[verdict.keep]),
        keys_fingerprint=fingerprint(parts.column("key_hash")[verdict.keep], *sizes),
        sources=parts.done.sources,
        buckets=[[*size, count] for size, count in zip(buckets, per_bucket, strict=True)],
        policies=policies.as_dict(),
        counts=verdict.counts,
        left_out=verdict.left_out,
        excluded=excluded,
        rows_per_batch=ROWS,
        fields=[one for one, _ in others],
    )
    named = [pa.field(column_of(one.name), one.type) for one, _ in others]
    metadata = {FACTS: facts.encode(), seal.NAME: seal.blank(-(-len(numbers) // ROWS))}
    schema = pa.schema([*INDEX, *named], metadata)
    # Inside the work folder: what a kill leaves is written over by the next try, not left beside the index.
    with replacing(index, temporary=parts.folder / "whole.arrow") as temporary:
        write(temporary, schema, rechunked(parts, verdict.keep), numbers, [column for _, column in others])
        seal.seal(temporary)
    return facts


def write(
    path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], numbers: np.ndarray, others: list[np.ndarray]
) -> None:
    """Write the file: the rows in batches, the bucket numbers and other fields of all."""
    done = 0
    with new_file(path, schema) as file, progress("writing", len(numbers), "images") as advance:
        for rows in batches:
            file.write_batch(complete(rows, numbers, done, schema, others))
            done += len(rows)
            advance(done, done)


def number_buckets(widths: np.ndarray, heights: np.ndarray) -> tuple[list[list[int]], np.ndarray, list[int]]:
    """Return ([[w, h], …] sorted, the number of each row's, int16, and how many rows each has)."""
    sizes = widths.astype(np.int64) << 32 | heights
    found, numbers, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    if len(found) > np.iinfo(np.int16).max:
        raise UserError(f"{len(found):,} different sizes; are they the images' own, and not train_resolution?")
    buckets = [[int(size) >> 32, int(size) & 0xFFFFFFFF] for size in found]
    return buckets, numbers.astype(np.int16), counts.tolist()


def fingerprint(*columns: np.ndarray) -> str:
    """xxh3-128 of columns one after the other, in little-endian bytes."""
    hasher = xxhash.xxh3_128()
    for column in columns:
        hasher.update(np.ascontiguousarray(column, column.dtype.newbyteorder("<")).data)
    return hasher.hexdigest()


def rechunked(parts: Parts, keep: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Yield the kept rows in batches of exactly ROWS, the last one excepted."""
    waiting, start = [], 0
    for part in parts:
        mask = keep[start : start + len(part)]
        start += len(part)
        batch = part.select(NAMES)
        waiting.append(batch if mask.all() else batch.filter(pa.array(mask)))
        while sum(len(each) for each in waiting) >= ROWS:
            joined = pa.concat_batches(waiting) if len(waiting) > 1 else waiting[0]
            yield joined.slice(0, ROWS)
            waiting = [joined.slice(ROWS)] if len(joined) > ROWS else []
    if rest := [each for each in waiting if len(each)]:
        yield pa.concat_batches(rest)


def complete(
    rows: pa.RecordBatch, numbers: np.ndarray, start: int, schema: pa.Schema, others: list[np.ndarray]
) -> pa.RecordBatch:
    """Return a batch of the index: with the rows' bucket numbers, and in the first batch all of them in one list.

    others: the columns of other fields, of all rows.
    """
    count = len(rows)
    every = numbers if start == 0 else numbers[:0]
    ends = np.full(count + 1, len(every), np.int32)
    ends[0] = 0
    lists = pa.ListArray.from_arrays(pa.array(ends), pa.array(every, pa.int16()))
    mine = [pa.array(column[start : start + count]) for column in (numbers, *others)]
    return pa.record_batch([*rows.columns, mine[0], lists, *mine[1:]], schema=schema)
