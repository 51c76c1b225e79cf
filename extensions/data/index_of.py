"""The index of a data set, as stores, packs and checks see it: rows with a key and a bucket."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import xxhash

from extensions.data import metadata
from extensions.data.metadata import Metadata, Sample


class Index(Protocol):
    """Rows in a fixed order. bucket: int16 (n,), numbers in `buckets`, a list of (width, height) in pixels."""

    bucket: np.ndarray
    buckets: list[tuple[int, int]]
    keys_fingerprint: str  # of all keys and sizes, in row order

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Sample: ...

    def keys(self) -> Iterator[pa.Array]: ...


class MetadataIndex:
    """Metadata in memory as an index."""

    def __init__(self, table: Metadata):
        self.table = table
        self.widths, self.heights = table.sizes()
        sizes = np.stack([self.widths, self.heights], axis=1)
        found, bucket = np.unique(sizes, axis=0, return_inverse=True)
        self.buckets = [(int(width), int(height)) for width, height in found]
        self.bucket = bucket.reshape(-1).astype(np.int16)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Sample:
        return self.table[row]

    def keys(self) -> Iterator[pa.Array]:
        """The keys in row order, in Arrow string arrays."""
        yield from self.table.table.column("key").chunks

    @cached_property
    def keys_fingerprint(self) -> str:
        """32 hexadecimal digits."""
        digest = xxhash.xxh3_128()
        for keys in self.keys():
            # One separator that JSON keys may hold, too, and lengths that tell the difference.
            digest.update(np.asarray(pa.compute.binary_length(keys)).tobytes())
            digest.update("\n".join(keys.to_pylist()).encode())
        digest.update(self.widths.tobytes() + self.heights.tobytes())
        return digest.hexdigest()


def open_index(path: str | Path) -> Index:
    """The index of a metadata file. UserError where it cannot be read."""
    return MetadataIndex(metadata.read(path))
