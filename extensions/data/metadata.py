"""The historical metadata (`meta_lat.json`) as Arrow columns.

The file is streamed: at 12.4 million images it has 14 GB, and parsed into Python objects it would need
several times that in every process. Arrow columns hold the text once, have no reference counts that
forked workers would dirty, and keep their memory shared.
"""

from dataclasses import dataclass
from pathlib import Path

import ijson
import pyarrow as pa

from extensions.errors import UserError

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("tags", pa.large_string()),
        ("caption", pa.large_string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
BATCH = 65_536  # rows an Arrow batch is built of


@dataclass(frozen=True)
class Sample:
    """One image's texts ("" where the metadata have none) and training size in pixels."""

    key: str
    tags: str
    caption: str
    width: int
    height: int


class Metadata:
    """Random access to the samples of one metadata file. `len()` is the number of images."""

    def __init__(self, table: pa.Table):
        # Chunks stay apart: joining them would hold the text of millions of images twice.
        self.table = table
        self.columns = [self.table.column(name) for name in SCHEMA.names]

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, row: int) -> Sample:
        return Sample(*(column[row].as_py() for column in self.columns))

    def sizes(self):
        """(width, height) of every row, as two int32 numpy arrays."""
        return self.table.column("width").to_numpy(), self.table.column("height").to_numpy()


def read(path: str | Path) -> Metadata:
    """Read `{id: {"tags": str, "caption": str, "train_resolution": [w, h]}, …}`.

    UserError: no such file, not JSON, not an object of objects, no image, a field of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such metadata file: {path}")
    batches, rows = [], []
    try:
        with open(path, "rb") as file:
            for key, entry in ijson.kvitems(file, ""):
                rows.append(row_of(path, key, entry))
                if len(rows) == BATCH:
                    batches.append(as_batch(rows))
                    rows = []
    except ijson.JSONError as error:
        raise UserError(f"{path} is not JSON: {' '.join(str(error).split())[:120]}") from None
    if rows:
        batches.append(as_batch(rows))
    if not batches:
        raise UserError(f"{path} lists no images; it must be an object of id: {{tags, caption, train_resolution}}")
    return Metadata(pa.Table.from_batches(batches, SCHEMA))


def as_batch(rows: list[tuple]) -> pa.RecordBatch:
    """Arrow columns of some rows."""
    columns = zip(zip(*rows, strict=True), SCHEMA.types, strict=True)
    return pa.RecordBatch.from_arrays([pa.array(values, kind) for values, kind in columns], schema=SCHEMA)


def row_of(path: Path, key: str, entry) -> tuple:
    """(key, tags, caption, width, height) of one entry. UserError naming the id and the field."""
    if not isinstance(entry, dict):
        raise UserError(f"{path}: the entry of {key!r} is not an object with tags, caption and train_resolution")
    for name in ("tags", "caption"):
        if not isinstance(entry.get(name), (str, type(None))):
            raise UserError(f"{path}: {name} of {key!r} is not a text")
    size = entry.get("train_resolution")
    if not is_size(size):
        raise UserError(
            f"{path}: train_resolution of {key!r} is {size!r}; it must be [width, height], multiples of 8"
        )
    return key, entry.get("tags") or "", entry.get("caption") or "", int(size[0]), int(size[1])


def is_size(size) -> bool:
    """Whether this is [width, height] in whole latents pixels."""
    if not (isinstance(size, list) and len(size) == 2):
        return False
    return all(isinstance(side, int) and side > 0 and side % 8 == 0 for side in size)
