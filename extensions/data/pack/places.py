"""Finds for a row of an index its shard and the record in it.

Found once for an index and a pack by joining their keys, which at 12.4 million takes ten seconds and 1.1 GB in
one process; kept beside keys.arrow as `rows-<index>-<keys>.npy`, 8 bytes a row, which every rank and worker maps.
Behind the array it has the xxh3-64 of all before it: one that is damaged is found once more.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from filelock import FileLock

from extensions.base import digests
from extensions.base.errors import UserError
from extensions.base.saving import replacing
from extensions.data.pack import header
from extensions.data.pack.header import Pack

NOWHERE = -1
CHECKSUM = 8  # bytes
BITS = 32  # of the record's number; the shard's is above


def place(shard, record):
    """One int64 of a shard's number and a record's in it (numbers or arrays)."""
    return (shard << BITS) + record


def split(value: int) -> tuple[int, int]:
    """Return (shard, record) of a place."""
    return value >> BITS, value & ((1 << BITS) - 1)


def places(folder: Path, pack: Pack, index) -> np.ndarray:
    """int64 (n,), mapped: the place of each row's record. UserError for a key that is not in the pack."""
    found = located(folder, pack, index)
    absent = np.flatnonzero(found == NOWHERE)
    if len(absent):
        key = index[int(absent[0])].key
        raise UserError(f"{len(absent)} of {len(index)} ids are not in the pack {folder}, e.g. {key}")
    return found


def located(folder: Path, pack: Pack, index) -> np.ndarray:
    """Find the same, NOWHERE for a key that is not in the pack."""
    path = folder / f"rows-{index.keys_fingerprint}-{pack.keys_digest[:8]}.npy"
    found = cached(path, len(index))
    return find_once(folder, pack, path, index) if found is None else found


def cached(path: Path, rows: int) -> np.ndarray | None:
    """Map the kept places, after their checksum was verified; None where there are none that can be used."""
    try:
        content = np.memmap(path, np.uint8, "r")
        if xxhash.xxh3_64_digest(content[:-CHECKSUM].data) != content[-CHECKSUM:].tobytes():
            return None
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    # A plain array over the map: numpy's memmap class costs a microsecond at every item.
    return np.asarray(found) if found.shape == (rows,) and found.dtype == np.int64 else None


def keep(path: Path, made: np.ndarray) -> None:
    """Write places with their checksum behind them, where `np.load` does not look."""
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            np.save(file, made)
        digest = bytes.fromhex(digests.of_file(temporary, xxhash.xxh3_64()))
        with open(temporary, "ab") as file:
            file.write(digest)


def find_once(folder: Path, pack: Pack, path: Path, index) -> np.ndarray:
    """Join, by one process while the others wait, and keep it; in this process's memory where it cannot be kept."""
    try:
        with FileLock(path.with_suffix(".lock")):
            found = cached(path, len(index))
            if found is not None:
                return found
            made = find(folder, pack, index)
            keep(path, made)
            found = cached(path, len(index))
            return made if found is None else found
    except (OSError, NotImplementedError):  # a disk that is read-only, full, or knows no locks
        return find(folder, pack, index)


def find(folder: Path, pack: Pack, index) -> np.ndarray:
    """int64 (n,): the place of each row's key, NOWHERE where the pack has none."""
    table = header.keys(folder, pack)
    at = pc.index_in(pa.chunked_array(index.keys(), pa.string()), value_set=table.column("key"))
    if not len(table):
        return np.full(len(at), NOWHERE)
    known = place(table.column("shard").to_numpy().astype(np.int64), table.column("record").to_numpy())
    return np.where(at.is_null().to_numpy(), NOWHERE, known[at.fill_null(0).to_numpy()])
