"""What the flipped files are read by: all that a run or a verb takes from them, as JSON."""

import hashlib
from dataclasses import asdict, astuple
from pathlib import Path

from extensions.data import index, store
from extensions.resume import states


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


def latents(folder: str) -> list:
    """Every sample of a folder as training reads it, out of `pack` or `latents`: digest of its latents, and sizes."""
    found = index.open_for(Path(folder) / "meta_lat.json", None)
    kind = next(name for name in ("pack", "latents") if (Path(folder) / name).is_dir())
    opened = store.open_store(Path(folder) / kind, found)
    samples = [opened.read(row, found[row]) for row in range(len(found))]
    return [[hashlib.sha256(each.latents.tobytes()).hexdigest(), each.original_size, each.crop] for each in samples]


def latents_found_anew(folder: str) -> list:
    """The same of a pack, its map of rows made anew of keys.arrow."""
    for kept in Path(folder).glob("pack/rows-*"):
        kept.unlink()
    return latents(folder)


def state(folder: str) -> list:
    """A training state as a resume takes it: what it says, and every tensor under its checksum."""
    found = states.read(Path(folder) / "step00000007")
    states.verify(found)
    return [asdict(found.facts), {name: states.checksum(found.path / name) for name in found.facts.files}]
