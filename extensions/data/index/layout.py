"""Lays out the index on disk: its names, its columns, and the facts that it carries about itself.

`meta_lat.json.index.arrow` is an Arrow IPC file that any Arrow reader can open. All its record batches have
ROWS rows but the last, so that a row's batch is a division. The bucket numbers of all rows stand once more in
one piece, as the list of the file's first row (`every_bucket`; all others are empty): mapped, they are one
numpy array that costs no memory of its own. Each row has a checksum; the rest is under a seal (`seal.py`).

Other fields of the metadata (FIELDS=score) are columns of their own, `field:score`, under checksums of their own:
rows and fingerprints are what they are without them, and an index that has none is as it was before there were any.
"""

import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import xxhash

from extensions.data.metadata import Sample

VERSION = 2  # 1 had no checksums
ROWS = 65_536  # rows of a record batch: some 45 MB; 190 of them at 12.4 million images
FACTS = b"sdxl_trainer.index"
SUFFIX = ".index.arrow"

COLUMNS = [
    ("key", pa.string()),
    ("tags", pa.large_string()),  # large: nothing bounds the texts of 65,536 rows
    ("caption", pa.large_string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
]
# While it is built. A bad size is 0 x 0; the hashes are xxh3-64 of the key and of the whole row.
PART = pa.schema([*COLUMNS, ("key_hash", pa.uint64()), ("row_hash", pa.uint64())])
INDEX = pa.schema(
    [*COLUMNS, ("row_hash", pa.uint64()), ("bucket", pa.int16()), ("every_bucket", pa.list_(pa.int16()))]
)


def row_hash(sample: Sample) -> int:
    """Compute the xxh3-64 of a row. Lengths go before the texts, so that no two rows are hashed as the same bytes."""
    key, tags, caption = sample.key, sample.tags, sample.caption
    head = f"{sample.width} {sample.height} {len(key)} {len(tags)} "
    return xxhash.xxh3_64_intdigest(f"{head}{key}{tags}{caption}".encode())


def part_schema(fields: Sequence[str]) -> pa.Schema:
    """Return PART with the JSON of other fields' values, "" where an entry has none."""
    return pa.schema([*PART, *(pa.field(column_of(name), pa.string()) for name in fields)])


def column_of(field: str) -> str:
    """Return the name of a field's column, which is no other column's."""
    return f"field:{field}"


@dataclass(frozen=True)
class Source:
    """A metadata file as it was when it was read: absolute path, bytes, time of change."""

    path: str
    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Source":
        """As it is now. FileNotFoundError where it is gone."""
        facts = path.stat()
        return cls(str(path.resolve()), facts.st_size, facts.st_mtime_ns)

    def same(self, other: "Source") -> bool:
        """Tell whether both are one content; a folder that was moved or mounted elsewhere changes nothing."""
        mine, its = (Path(each.path).name for each in (self, other))
        return (mine, self.bytes, self.mtime_ns) == (its, other.bytes, other.mtime_ns)


@dataclass(frozen=True)
class Listed:
    """A list of ids as it was when it was read: absolute path, how many ids, xxh3-128 of its bytes."""

    path: str
    ids: int
    digest: str


@dataclass(frozen=True)
class Field:
    """A column of another field. words: what its numbers mean, int16, -1 where a row has none; None: they are the
    values, float64, NaN where a row has none. digests: xxh3-64 of the column in each record batch, in hexadecimal.
    """

    name: str
    words: list[str] | None
    digests: list[str]

    @property
    def type(self) -> pa.DataType:
        return pa.float64() if self.words is None else pa.int16()


@dataclass
class Facts:
    """What the index says of itself.

    fingerprint: of the content of all rows, in order. keys_fingerprint: of keys and sizes alone, which is what
    the latents depend on. buckets: [[width, height, rows], …] by bucket number. counts: what the build found,
    before the policies were applied. left_out: rows that the policies left out, by reason. excluded: the lists
    whose ids were left out. fields: the columns of other fields.
    """

    rows: int
    fingerprint: str
    keys_fingerprint: str
    sources: list[Source]
    buckets: list[list[int]]
    policies: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    excluded: list[Listed] = field(default_factory=list)
    rows_per_batch: int = ROWS
    version: int = VERSION
    fields: list[Field] = field(default_factory=list)

    def encode(self) -> bytes:
        """For the schema's metadata. Without other fields they are not named: earlier programs read that, too."""
        facts = asdict(self)
        if not self.fields:
            del facts["fields"]
        return json.dumps(facts, ensure_ascii=False).encode()

    @classmethod
    def decode(cls, text: bytes) -> "Facts":
        """From `encode` of this version."""
        found = json.loads(text)
        sources = [Source(**each) for each in found["sources"]]
        excluded = [Listed(**each) for each in found["excluded"]]
        fields = [Field(**each) for each in found.get("fields", [])]
        return cls(**found | {"sources": sources, "excluded": excluded, "fields": fields})


@contextmanager
def new_file(path: Path, schema: pa.Schema):
    """Open an Arrow IPC file to write record batches to, closed whatever happens: a removed one keeps its room."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as file:
        yield file


def index_of(metadata: Path) -> Path:
    """Return the index of a metadata file: beside it, or the file itself where it is one."""
    return metadata if metadata.name.endswith(SUFFIX) else metadata.with_name(metadata.name + SUFFIX)


def beside(index: Path, what: str, hidden: bool = True) -> Path:
    """Name a file or folder of an index's: `part` (work), `lock`, `checked.json`, `report.json`, a list."""
    stem = index.name.removesuffix(".arrow")
    return index.with_name(f"{'.' if hidden else ''}{stem}.{what}")
