"""Reads the index in training: mapped, shared by every process that reads it, and no Python object an image."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from extensions.base.errors import UserError
from extensions.data.buckets import Resolution
from extensions.data.index.layout import COLUMNS, FACTS, VERSION, Facts
from extensions.data.metadata import Sample

# No thread pool: workers are forked, and one row needs none.
ALONE = pa.ipc.IpcReadOptions(use_threads=False)


class Unusable(UserError):
    """An index that cannot be read; it may be made again where its metadata are at hand."""


class Index:
    """Random access to the samples of an index file. `len()` is the number of images.

    bucket: the number of each row's bucket, int16 (n,), mapped from the file and read-only. buckets: (width,
    height) by number. fingerprint: of all content; keys_fingerprint: of keys and sizes. Reading does not copy the
    file; forked workers share its pages, and an Index sent to a spawned one opens it anew.
    """

    def __init__(self, path: Path):
        """Unusable: not there, truncated, no index, or of another version."""
        self.path = Path(path)
        self._file, self._opened = opened(self.path), identity(self.path)
        self.facts = facts_of(self.path, self._file)
        self._columns: list[tuple | None] = [None] * self._file.num_record_batches
        self.fingerprint, self.keys_fingerprint = self.facts.fingerprint, self.facts.keys_fingerprint
        self.buckets: list[Resolution] = [(width, height) for width, height, _ in self.facts.buckets]
        first = self._file.get_batch(0)
        self.bucket: np.ndarray = first.column("every_bucket").values.to_numpy()

    def __len__(self) -> int:
        return self.facts.rows

    def __getitem__(self, row: int) -> Sample:
        if not 0 <= row < self.facts.rows:
            raise IndexError(row)
        batch, place = divmod(row, self.facts.rows_per_batch)
        return Sample(*(column[place].as_py() for column in self._batch(batch)))

    def _batch(self, number: int) -> tuple:
        """Return the columns of a record batch.

        Kept: 190 at 12.4 million images, each some kilobytes of addresses.
        """
        columns = self._columns[number]
        if columns is None:
            batch = self._file.get_batch(number)
            columns = self._columns[number] = tuple(batch.column(name) for name, _ in COLUMNS)
        return columns

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (width, height) of every row in pixels, int32. Made anew: for the bucket of a row take `bucket`."""
        sides = np.array(self.buckets, np.int32).reshape(-1, 2)
        return sides[self.bucket, 0], sides[self.bucket, 1]

    def keys(self) -> Iterator[pa.Array]:
        """Yield all keys in row order, an array of text a record batch."""
        for number in range(self._file.num_record_batches):
            yield self._file.get_batch(number).column("key")

    def rows_of(self, keys: list[str]) -> dict[str, int]:
        """Return {key: row} of those that are here. Reads every key: some seconds at 12.4 million images."""
        wanted, found = pa.array(keys, pa.string()), {}
        for number, column in enumerate(self.keys()):
            for place in np.flatnonzero(pc.is_in(column, value_set=wanted).to_numpy(zero_copy_only=False)).tolist():
                found[column[place].as_py()] = number * self.facts.rows_per_batch + place
        return found

    def require_untouched(self) -> None:
        """Refuse a file into which other content was written since it was opened: no row can be trusted. UserError.

        One that was replaced by renaming, or removed, stays mapped as it was; a new time alone changes nothing.
        """
        now, then = identity(self.path), self._opened
        if now is None or then is None or now == then or now[:2] != then[:2]:
            return
        if now[2] != then[2] or not self.same_facts():
            raise UserError(
                f"{self.path} was overwritten while this run reads it; put it back, and go on from the last state "
                "(RESUME=auto); an index may be replaced by renaming, not by writing into it (cp, rsync --inplace)"
            )
        self._opened = now

    def same_facts(self) -> bool:
        """Tell whether the file, opened anew, says of itself what it said."""
        try:
            return Index(self.path).facts == self.facts
        except Unusable:
            return False

    def __reduce__(self):
        return Index, (self.path,)


def identity(path: Path) -> tuple[int, int, int, int] | None:
    """Return (device, inode, bytes, time of change) of a file; None where there is none, or it is out of reach."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def opened(path: Path):
    """Return the file, mapped."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)), options=ALONE)
    except FileNotFoundError:
        raise Unusable(f"no such index: {path}; make it with make index META=…") from None
    except (pa.ArrowInvalid, OSError) as error:
        what = "is truncated or no index" if isinstance(error, pa.ArrowInvalid) else f"cannot be read ({error})"
        raise Unusable(f"{path} {what}; copy it again, or make it again with make index META=…") from None


def facts_of(path: Path, file) -> Facts:
    """Return what an index says of itself."""
    text = (file.schema.metadata or {}).get(FACTS)
    if text is None:
        raise Unusable(f"{path} is an Arrow file but no index; make one with make index META=…")
    version = json.loads(text).get("version")
    if version != VERSION:
        raise Unusable(
            f"{path} is an index of version {version}, this program reads version {VERSION}; "
            "make it again with make index META=…"
        )
    return Facts.decode(text)
