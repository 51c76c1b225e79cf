"""Reads the index in training: mapped, shared by every process that reads it, and no Python object an image."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from extensions.base.errors import UserError
from extensions.data.buckets import Resolution
from extensions.data.index import seal
from extensions.data.index.fields import Values, fingerprint, lacks
from extensions.data.index.layout import FACTS, VERSION, Facts, Field, column_of, row_hash
from extensions.data.metadata import Sample

# No thread pool: workers are forked, and one row needs none.
ALONE = pa.ipc.IpcReadOptions(use_threads=False)
AGAIN = "copy it again, or make it again with make index META=…"


class Unusable(UserError):
    """An index that cannot be read; it may be made again where its metadata are at hand."""


class Index:
    """Random access to the samples of an index file. `len()` is the number of images.

    bucket: the number of each row's bucket, int16 (n,), mapped from the file and read-only. buckets: (width,
    height) by number. fingerprint: of all content; keys_fingerprint: of keys and sizes. Reading does not copy the
    file; forked workers share its pages, and an Index sent to a spawned one opens it anew.
    """

    def __init__(self, path: Path):
        """Unusable: not there, truncated, damaged, no index, or of another version."""
        self.path = Path(path)
        self._seal = verified(self.path)
        self._file, self._opened = opened(self.path), identity(self.path)
        self.facts = facts_of(self.path, self._file)
        self._columns: list[Columns | None] = [None] * self._file.num_record_batches
        self.fingerprint, self.keys_fingerprint = self.facts.fingerprint, self.facts.keys_fingerprint
        self._fields: tuple[Field, ...] = ()
        self.buckets: list[Resolution] = [(width, height) for width, height, _ in self.facts.buckets]
        numbers = self._file.get_batch(0).column("every_bucket").values
        if seal.digest(numbers.buffers()[1]) != self._seal.numbers:
            raise Unusable(f"{self.path}: its bucket numbers are damaged; {AGAIN}")
        self.bucket: np.ndarray = numbers.to_numpy()

    def __len__(self) -> int:
        return self.facts.rows

    def __getitem__(self, row: int) -> Sample:
        """Read a row. UserError where its checksum is wrong."""
        if not 0 <= row < self.facts.rows:
            raise IndexError(row)
        batch, place = divmod(row, self.facts.rows_per_batch)
        sample = self._batch(batch).sample(place)
        if sample is None:
            raise UserError(f"{self.path}: row {row} is damaged; {AGAIN}")
        return sample

    def _batch(self, number: int) -> "Columns":
        """Return the columns of a record batch.

        Kept: 190 at 12.4 million images, each some kilobytes of addresses.
        """
        columns = self._columns[number]
        if columns is None:
            batch = self._file.get_batch(number)
            columns = self._columns[number] = Columns(
                batch, [self._values(each, number, batch) for each in self._fields]
            )
        return columns

    def _values(self, field: Field, number: int, batch: pa.RecordBatch) -> Values:
        """Return a field's values in a record batch. UserError where they are damaged."""
        try:
            return Values(field, batch.column(column_of(field.name)), number)
        except ValueError:
            raise UserError(f"{self.path}: the field {field.name} is damaged; {AGAIN}") from None

    def take_fields(self, numbers: Mapping[str, str]) -> None:
        """From now on samples have these fields. UserError: there is no such column, or it is of the other kind.

        numbers: of each field what is to be done where it has numbers, or "" where that is well.
        """
        known = {each.name: each for each in self.facts.fields}
        if lacking := [name for name in numbers if name not in known]:
            raise UserError(lacks(self.path, self.facts, lacking))
        for name, hint in numbers.items():
            if hint and known[name].words is None:
                raise UserError(f"{self.path}: the field {name} has numbers; {hint}")
        self._fields = tuple(known[name] for name in numbers)
        self._columns = [None] * len(self._columns)

    @property
    def fields_fingerprint(self) -> str:
        """Of the fields that samples have; "" where they have none."""
        return fingerprint(self._fields)

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (width, height) of every row in pixels, int32. Made anew: for the bucket of a row take `bucket`."""
        sides = np.array(self.buckets, np.int32).reshape(-1, 2)
        return sides[self.bucket, 0], sides[self.bucket, 1]

    def keys(self) -> Iterator[pa.Array]:
        """Yield all keys in row order, an array of text a record batch. UserError where one is damaged."""
        for number in range(self._file.num_record_batches):
            column = self._file.get_batch(number).column("key")
            if seal.digest(*column.buffers()) != self._seal.keys[number]:
                raise UserError(
                    f"{self.path}: the ids from row {number * self.facts.rows_per_batch} are damaged; {AGAIN}"
                )
            yield column

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
        return reopened, (self.path, [each.name for each in self._fields])


def reopened(path: Path, fields: list[str]) -> Index:
    """Open an index anew, with the fields that it had."""
    index = Index(path)
    index.take_fields(dict.fromkeys(fields, ""))
    return index


class Columns:
    """The columns of a record batch, as the bytes that they are: Arrow would follow a damaged offset anywhere."""

    def __init__(self, batch: pa.RecordBatch, fields: Sequence[Values] = ()):
        self.fields = fields
        self.texts = [text_of(batch.column(name)) for name in ("key", "tags", "caption")]
        self.widths, self.heights = (bytes_of(batch.column(name)).cast("i") for name in ("width", "height"))
        self.hashes = bytes_of(batch.column("row_hash")).cast("Q")

    def sample(self, place: int) -> Sample | None:
        """Read a row of the batch; None where it is not the one that was written."""
        found = []
        for ends, content in self.texts:
            start, end = ends[place], ends[place + 1]
            if not 0 <= start <= end <= len(content):
                return None
            found.append(content[start:end])
        try:
            key, tags, caption = (str(piece, "utf-8") for piece in found)
        except UnicodeDecodeError:
            return None
        fields = tuple((each.name, value) for each in self.fields if (value := each.at(place)) is not None)
        sample = Sample(key, tags, caption, self.widths[place], self.heights[place], fields)
        return sample if row_hash(sample) == self.hashes[place] else None


def text_of(column: pa.Array) -> tuple[memoryview, memoryview]:
    """Return (where each text ends and the next begins, the bytes of all) of a column of text."""
    ends = bytes_of(column)
    content = column.buffers()[2]
    wide = pa.types.is_large_string(column.type)
    return ends.cast("q") if wide else ends.cast("i"), memoryview(content or b"").cast("B")


def bytes_of(column: pa.Array) -> memoryview:
    """Return the first buffer of a column that can have no gaps: its numbers, or where its texts end."""
    return memoryview(column.buffers()[1]).cast("B")


def identity(path: Path) -> tuple[int, int, int, int] | None:
    """Return (device, inode, bytes, time of change) of a file; None where there is none, or it is out of reach."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def verified(path: Path) -> seal.Seal:
    """Verify all that Arrow takes on trust. Unusable."""
    try:
        return seal.verified(path)
    except FileNotFoundError:
        raise Unusable(f"no such index: {path}; make it with make index META=…") from None
    except OSError as error:
        raise Unusable(f"{path} cannot be read ({error.strerror}); {AGAIN}") from None
    except seal.Broken as why:
        raise Unusable(f"{path} {why}; {AGAIN}") from None


def opened(path: Path):
    """Return the file, mapped. Unusable."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)), options=ALONE)
    except (pa.ArrowInvalid, OSError) as error:
        raise Unusable(f"{path} cannot be read ({error}); {AGAIN}") from None


def facts_of(path: Path, file) -> Facts:
    """Return what an index says of itself."""
    text = file.schema.metadata[FACTS]
    version = json.loads(text).get("version")
    if version != VERSION:
        raise Unusable(f"{path} is an index of version {version}, this program reads version {VERSION}; {AGAIN}")
    return Facts.decode(text)
