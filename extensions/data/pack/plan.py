"""Plans which rows go to which shard, in which order; the same for the same index, dtype and size of shards."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extensions.base.errors import UserError
from extensions.data import npz
from extensions.data.latents import CorruptSample
from extensions.data.pack.header import Pack, Shard
from extensions.data.pack.layout import STORED, Layout

KEEP = "keep"
TRIES = 1000  # images looked at for the dtype to keep, where the first are corrupt


@dataclass(frozen=True)
class Plan:
    """rows: int64 (n,), all rows of the index in the order of the records; starts: of each shard in it."""

    pack: Pack
    rows: np.ndarray
    starts: list[int]

    def rows_of(self, shard: int) -> np.ndarray:
        """Return the index's rows that a shard is planned to hold."""
        start = self.starts[shard]
        return self.rows[start : start + self.pack.shards[shard].records]


def make(index, source: Path, dtype: str, shard_bytes: int) -> Plan:
    """Return the plan of a pack. dtype: a key of STORED or KEEP. UserError where there is none to keep."""
    dtype = dtype_of(index, source) if dtype == KEEP else dtype
    rows = np.argsort(index.bucket, kind="stable")
    counts = np.bincount(index.bucket, minlength=len(index.buckets))
    shards, starts = [], []
    for number, ((width, height), count) in enumerate(zip(index.buckets, counts.tolist(), strict=True)):
        most = max(1, shard_bytes // Layout(width, height, dtype).record_bytes)
        first = int(counts[:number].sum())
        for part, start in enumerate(range(0, count, most)):
            shards.append(Shard(f"{width}x{height}-{part:05}.bin", number, min(most, count - start)))
            starts.append(first + start)
    pack = Pack(dtype, list(index.buckets), shards, len(index), index.keys_fingerprint, source=source.resolve().name)
    return Plan(pack, rows, starts)


def dtype_of(index, source: Path) -> str:
    """Return the dtype of the first npz that can be read."""
    for row in range(min(len(index), TRIES)):
        sample = index[row]
        try:
            found = npz.load(source, sample.key, sample.width, sample.height).latents.dtype
        except CorruptSample:
            continue
        name = next((name for name, kind in STORED.items() if kind == found.newbyteorder("<")), None)
        if name is None:
            raise UserError(f"{npz.path_of(source, sample.key)} is {found}; give DTYPE=float32 or float16")
        return name
    raise UserError(f"none of the first {TRIES} files in {source} can be read; see `make check-data`")
