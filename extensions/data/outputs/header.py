"""Reads and writes pack.json: what a pack of text encoders' outputs holds, and of what run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.sealed import opened, sealed
from extensions.data.outputs.layout import DTYPES, Layout

VERSION = 1
HEADER = "pack.json"  # written last
PLANNED = "unfinished.json"  # the same without the shards' sizes, until all are there
EMPTY = "empty.bin"  # the record of an empty chunk
AGAIN = "restore it, or make the outputs again in another folder"


@dataclass(frozen=True)
class Pack:
    """texts: drawn of each of `rows` images. shard_rows: images a shard; sizes: bytes of each. empty_tokens: of the
    empty chunk. made_with: see `made_with.of_run`.
    """

    widths: tuple[int, int]
    dtype: str
    texts: int
    rows: int
    shard_rows: int
    empty_tokens: int
    made_with: dict[str, str]
    sizes: tuple[int, ...] = ()

    @property
    def layout(self) -> Layout:
        return Layout(self.widths, self.dtype)

    @property
    def shards(self) -> int:
        return -(-self.rows // self.shard_rows)

    def rows_of(self, shard: int) -> range:
        """Return the rows of a shard."""
        return range(shard * self.shard_rows, min(self.rows, (shard + 1) * self.shard_rows))

    def to_json(self) -> str:
        return json.dumps(sealed({"version": VERSION} | json.loads(json.dumps(asdict(self)))), indent=1) + "\n"


def name_of(shard: int) -> str:
    """Return the file of a shard."""
    return f"texts-{shard:06d}.bin"


def read(folder: Path) -> Pack:
    """Return the pack of a folder, every shard there and of its size. UserError."""
    path = folder / HEADER
    if not path.is_file():
        state = "unfinished text outputs" if (folder / PLANNED).is_file() else "no text outputs"
        raise UserError(f"{folder} holds {state}; make text-outputs RUN=… VARIANTS=… makes them, or goes on")
    pack = parse(path)
    for shard, size in enumerate(pack.sizes):
        file = folder / name_of(shard)
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            has = "is missing" if found is None else f"has {found:,} bytes instead of {size:,}"
            raise UserError(f"{file} {has}; {AGAIN}")
    return pack


def parse(path: Path) -> Pack:
    """Read pack.json, or a plan. UserError where it is damaged or of another version."""
    try:
        content = opened(json.loads(path.read_text(encoding="utf-8")), required=True)
        if (version := content.pop("version")) != VERSION:
            raise UserError(f"{path} is of version {version!r:.20}, this trainer reads {VERSION}; {AGAIN}")
        first, second = content.pop("widths")
        pack = Pack(**content | {"widths": (first, second), "sizes": tuple(content["sizes"])})
        if pack.dtype not in DTYPES or min(pack.texts, pack.rows, pack.shard_rows) < 1:
            raise ValueError("a field is none that it can have")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise UserError(f"{path} is damaged ({error!r:.80}); {AGAIN}") from None
    return pack
