"""Reads and writes pack.json and keys.arrow: what a pack holds, and where each key's record lies.

keys.arrow is an Arrow file (key: string, shard: int32, record: int32) in the order of the records.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import xxhash

from extensions.base import digests
from extensions.base.errors import UserError
from extensions.base.paths import is_file_name
from extensions.base.sealed import opened, sealed
from extensions.data.pack import HEADER
from extensions.data.pack.layout import STORED, Layout

VERSION = 2
MOST = 10**12  # of anything that is counted in a pack
UNCHECKED = 1  # the version before it, whose pack.json has no digest; its records are the same
KEYS = "keys.arrow"
SCHEMA = pa.schema([("key", pa.string()), ("shard", pa.int32()), ("record", pa.int32())])


@dataclass(frozen=True)
class Shard:
    """One file of records of one bucket. bucket: its number in the pack."""

    file: str
    bucket: int
    records: int


@dataclass(frozen=True)
class Pack:
    """pack.json. dtype: a key of STORED; buckets: [(width, height), …]; keys_fingerprint: of the index packed;
    keys_digest: xxh3-64 of keys.arrow; source: name of the folder packed; left_out: corrupt images left out."""

    dtype: str
    buckets: list[tuple[int, int]]
    shards: list[Shard]
    images: int
    keys_fingerprint: str
    keys_digest: str = ""
    source: str = ""
    left_out: int = 0
    layouts: list[Layout] = field(init=False, compare=False, repr=False)

    def __post_init__(self):
        if self.dtype not in STORED:
            raise ValueError(f"dtype {self.dtype}")
        object.__setattr__(self, "layouts", [Layout(*bucket, self.dtype) for bucket in self.buckets])

    def layout(self, shard: int) -> Layout:
        """Return the layout of a shard's records."""
        return self.layouts[self.shards[shard].bucket]

    def bytes_of(self, shard: int) -> int:
        """Return the size of a shard's file."""
        return self.shards[shard].records * self.layout(shard).record_bytes

    def to_json(self) -> str:
        content = asdict(self)
        del content["layouts"]
        sizes = [layout.record_bytes for layout in self.layouts]
        content["buckets"] = [
            {"width": w, "height": h, "record_bytes": size} for (w, h), size in zip(self.buckets, sizes, strict=True)
        ]
        content["shards"] = [asdict(s) | {"bytes": self.bytes_of(i)} for i, s in enumerate(self.shards)]
        return json.dumps(sealed({"version": VERSION} | content), indent=1) + "\n"


def read(folder: Path) -> Pack:
    """Return the pack of a folder, every shard there and of the right size.

    UserError: unfinished, of another version, not a pack.json, a shard missing or cut short.
    """
    path = folder / HEADER
    if not path.is_file():
        raise UserError(f"{folder} holds an unfinished pack; the same `make pack` again goes on with it")
    pack = parse(path)
    for number, shard in enumerate(pack.shards):
        require_shard(folder / shard.file, pack.bytes_of(number))
    return pack


def parse(path: Path) -> Pack:
    """Read pack.json. UserError where it is damaged, of another version, or none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
        if version in {VERSION, UNCHECKED}:
            return pack_of(opened(content, required=version == VERSION))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise UserError(f"{path} is damaged ({error!r:.80}); pack again into another folder") from None
    raise UserError(
        f"{path} is of version {version!r:.20}, this trainer reads {VERSION}; pack again into another folder"
    )


def pack_of(content: dict) -> Pack:
    """Make a pack of the content of pack.json. ValueError, KeyError or TypeError for what no pack can be."""
    buckets = [(bucket["width"], bucket["height"]) for bucket in content["buckets"]]
    shards = [Shard(shard["file"], shard["bucket"], shard["records"]) for shard in content["shards"]]
    found = {name: value for name, value in content.items() if name != "version"}
    pack = Pack(**found | {"buckets": buckets, "shards": shards})
    whole = [*(side for size in buckets for side in size), pack.images, pack.left_out]
    whole += [number for shard in shards for number in (shard.records, shard.bucket)]
    if any(type(number) is not int or not 0 <= number <= MOST for number in whole):
        raise ValueError("a size or count is none that a pack can have")
    texts = (pack.keys_fingerprint, pack.keys_digest)  # of them the name of a file is made
    if not all(isinstance(text, str) and re.fullmatch("[0-9a-f]*", text) for text in texts):
        raise ValueError("a digest is none")
    if not all(0 <= shard.bucket < len(buckets) and is_file_name(shard.file) for shard in shards):
        raise ValueError("a shard is of no bucket, or not in the folder")
    return pack


def require_shard(path: Path, size: int) -> None:
    """Raise UserError unless a shard is there and whole."""
    try:
        found = path.stat().st_size
    except OSError as error:
        raise UserError(f"shard {path} is missing ({error.strerror}); restore it or pack again") from None
    if found != size:
        raise UserError(f"shard {path} has {found:,} bytes instead of {size:,}; restore it or pack again")


def keys(folder: Path, pack: Pack) -> pa.Table:
    """Open keys.arrow as a table over the mapped file. UserError where it is not the one that was written.

    All of it is read before Arrow follows an offset of it: some 0.3 GB at 12.4 million images.
    """
    path = folder / KEYS
    try:
        if pack.keys_digest and digests.of_file(path, xxhash.xxh3_64()) != pack.keys_digest:
            raise UserError(f"{path} is damaged: its checksum is wrong; restore it or pack again")
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path} cannot be read ({reason}); restore it or pack again") from None
    if table.schema != SCHEMA:
        raise UserError(f"{path} has other columns than a pack's; restore it or pack again")
    return table
