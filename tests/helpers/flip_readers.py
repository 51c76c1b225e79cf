"""What the flipped files are read by: all that a run or a verb takes from them, as JSON."""

from dataclasses import astuple
from pathlib import Path

from extensions.data import index


def rows_of(found: index.Index) -> list:
    """Everything that an index says of its images."""
    keys = [key for column in found.keys() for key in column.to_pylist()]
    rows = [list(astuple(found[row])) for row in range(len(found))]
    return [keys, rows, found.bucket.tolist(), found.buckets, found.fingerprint, found.keys_fingerprint]


def named_index(folder: str) -> list:
    """The index of a folder, named itself."""
    return rows_of(index.open_for(next(Path(folder).glob("*.index.arrow")), Path(folder) / "latents"))


def index_of_metadata(folder: str) -> list:
    """The index of a folder's metadata: one that cannot be used is made again."""
    return rows_of(index.open_for(Path(folder) / "meta_lat.json", Path(folder) / "latents"))
