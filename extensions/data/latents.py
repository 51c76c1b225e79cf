"""Cached latents: a folder of `<id>.npz`, as the historical data keep them, or a pack (`pack/`) of the same.

A sample that cannot be read is one of two things. *Corrupt*: its bytes are there and wrong (a file cut short, a
checksum, a bad sector, NaN, another size), which `--bad_sample=skip` may pass over. *Missing*: the file, the folder
or the disk is not there, or the process may not read it; that always stops, because a disk that is gone makes
every sample unreadable and none of them bad.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from extensions.data.pack import is_pack
from extensions.errors import UserError

# A set of this size is opened whole before training (some seconds); a larger one is checked as it is
# read, because opening 12.4 million archives would take hours.
OPEN_ALL = 20_000
NAMES = 65_536  # file names an Arrow chunk is built of
# Errors of the system about a file whose bytes may be good. (A bad sector is EIO; zipfile seeks to nonsense, EINVAL.)
NOT_THERE = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENAMETOOLONG,
    errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT,
}  # fmt: skip


class CorruptSample(UserError):
    """One sample's latents are there and wrong. The message names the file and the id."""


@dataclass(frozen=True)
class Latents:
    """latents: float32 (4, h/8, w/8), not scaled. original_size: (w, h). crop: (left, top), pixels."""

    latents: np.ndarray
    original_size: tuple[int, int]
    crop: tuple[int, int]


def path_of(folder: Path, key: str) -> Path:
    """Where the latents of an image lie."""
    return folder / f"{key}.npz"


def load(folder: Path, key: str, width: int, height: int) -> Latents:
    """Read one npz, the latents in the file's own dtype. width, height: of the bucket, in pixels.

    CorruptSample: damaged, not finite, or of another size. UserError: missing or not readable.
    """
    path = path_of(folder, key)
    try:
        latents, original, crop = arrays_of(path)
    except OSError as error:
        if error.errno in NOT_THERE:
            raise missing(path, key, error) from None
        raise corrupt(path, key, error) from None
    except Exception as error:  # a damaged archive raises whatever zipfile, zlib or numpy stumble over
        raise corrupt(path, key, error) from None
    if latents.shape != (4, height // 8, width // 8):
        raise CorruptSample(f"{path}: latents are {latents.shape}, train_resolution {width}x{height} says otherwise")
    if not np.isfinite(latents).all():
        raise CorruptSample(f"{path}: latents hold NaN or infinity; make them again or take {key!r} out")
    return Latents(latents, original, crop)


def arrays_of(path: Path) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
    """(latents, original size, crop's left and top) as they stand in the file. Any exception where it is damaged."""
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        latents, original, crop = archive["latents"], archive["original_size"], archive["crop_ltrb"]
    if latents.dtype.kind != "f":
        raise ValueError(f"latents are {latents.dtype}")
    return latents, (int(original[0]), int(original[1])), (int(crop[0]), int(crop[1]))


def missing(path: Path, key: str, error: OSError) -> UserError:
    """The error for a file that is not there or cannot be opened."""
    if error.errno == errno.ENOENT:
        return UserError(f"{path} is missing, but the metadata list {key!r}; make it again or take it out")
    return UserError(f"{path} cannot be read ({error.strerror}), but the metadata list {key!r}; mend that")


def corrupt(path: Path, key: str, error: Exception) -> CorruptSample:
    """The error for a damaged file; its reason on one line, however the library words it."""
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return CorruptSample(f"{path} is corrupt ({reason}); make it again or take {key!r} out of the metadata")


class NpzStore:
    """A folder of npz files."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, row: int, sample) -> Latents:
        """The latents of a row of the index, which is `sample`, as float32."""
        found = load(self.folder, sample.key, sample.width, sample.height)
        return Latents(found.latents.astype(np.float32, copy=False), found.original_size, found.crop)


def open_store(folder: Path, index, open_them: bool = False):
    """What reads the latents of an index's rows: `store.read(row, index[row])`. Opening it takes milliseconds.

    That every id has latents the index has made sure of (`index.open_for`); those of a small set are all read where
    `open_them`. UserError or CorruptSample for the first that cannot be, and for a pack that is not whole.
    """
    if is_pack(folder):
        from extensions.data.pack.store import PackedStore

        store = PackedStore(folder, index)
    else:
        store = NpzStore(folder)
    if open_them and len(index) <= OPEN_ALL:
        for row in range(len(index)):
            store.read(row, index[row])
    return store


def present_ids(folder: Path) -> Iterator[pa.Array]:
    """Ids that have latents, as pieces of Arrow text: 12.4 million Python names would cost over a gigabyte."""
    if is_pack(folder):
        from extensions.data.pack import header

        header.read(folder)  # refuses an unfinished one
        yield from header.keys(folder).column("key").chunks
        return
    with os.scandir(folder) as entries:
        names = (entry.name[:-4] for entry in entries if entry.name.endswith(".npz"))
        while len(piece := pa.array(islice(names, NAMES), pa.string())):
            yield piece
