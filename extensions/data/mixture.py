"""Joins the indexes of several sources to one: the rows of the first, then those of the second, and so on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from extensions.data.buckets import Resolution
from extensions.data.index.reader import Index
from extensions.data.metadata import Sample
from extensions.data.sources import Source

VERSION = 1  # of the order of a mixture: another one would be other data


class Mixture:
    """Random access to the samples of all sources, as `Index` has of one.

    bucket: each row's bucket number, int16 (n,), in the union of the sources' buckets; 25 MB at 12.4 million rows,
    which forked workers share. offsets: the first row of each source, and the end.
    """

    def __init__(self, path: Path, sources: Sequence[Source], indexes: Sequence[Index]):
        self.path, self.sources, self.indexes = path, tuple(sources), tuple(indexes)
        self.offsets = np.cumsum([0, *map(len, indexes)])
        self.buckets: list[Resolution] = sorted({size for index in indexes for size in index.buckets})
        number = {size: place for place, size in enumerate(self.buckets)}
        self.bucket = np.concatenate(
            [np.array([number[size] for size in index.buckets], np.int16)[index.bucket] for index in indexes]
        )
        self.bucket.flags.writeable = False
        self.fingerprint = digest("fingerprint", self.sources, self.indexes)
        self.keys_fingerprint = digest("keys_fingerprint", self.sources, self.indexes)

    @property
    def fields_fingerprint(self) -> str:
        """Of the other fields that samples have; "" where they have none."""
        return " ".join(filter(None, (index.fields_fingerprint for index in self.indexes)))

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def __getitem__(self, row: int) -> Sample:
        """Read a row. UserError where its checksum is wrong."""
        source, own = self.place(row)
        return self.indexes[source][own]

    def place(self, row: int) -> tuple[int, int]:
        """Return (number of the source, its own row) of a row."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        source = int(np.searchsorted(self.offsets, row, "right")) - 1
        return source, int(row - self.offsets[source])

    def source_of(self, row: int) -> str:
        """Return the name of a row's source."""
        return self.sources[self.place(row)[0]].name

    def keys(self) -> Iterator[pa.Array]:
        """Yield all keys in row order."""
        for index in self.indexes:
            yield from index.keys()

    def rows_of(self, keys: list[str]) -> dict[str, int]:
        """Return {key: row} of those that are here; of an id that several sources have, the first one's."""
        found: dict[str, int] = {}
        for offset, index in zip(self.offsets.tolist(), self.indexes, strict=False):
            found = {key: offset + row for key, row in index.rows_of(keys).items()} | found
        return found

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (width, height) of every row in pixels, int32."""
        sides = np.array(self.buckets, np.int32).reshape(-1, 2)
        return sides[self.bucket, 0], sides[self.bucket, 1]

    def require_untouched(self) -> None:
        """Refuse a source's index into which other content was written since it was opened. UserError."""
        for index in self.indexes:
            index.require_untouched()


def digest(what: str, sources: Sequence[Source], indexes: Sequence[Index]) -> str:
    """Return what tells a mixture from another: content, shares and steps of its sources, in order."""
    words = [f"mixture {VERSION}"]
    for source, index in zip(sources, indexes, strict=True):
        words += [source.words, getattr(index, what)]
    return xxhash.xxh3_128_hexdigest("\0".join(words).encode())


class MixedStore:
    """Reads the latents of a mixture's rows, each from its source's folder or pack."""

    def __init__(self, mixture: Mixture, stores: Sequence):
        self.mixture, self.stores = mixture, list(stores)

    def read(self, row: int, sample: Sample):
        source, own = self.mixture.place(row)
        return self.stores[source].read(own, sample)
