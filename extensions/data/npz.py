"""Reads a folder of `<id>.npz` latents, as the historical data keep them."""

import errno
import os
from pathlib import Path

import numpy as np

from extensions.base.errors import UserError
from extensions.data import ids
from extensions.data.latents import NOT_THERE, CorruptSample, Latents
from extensions.data.metadata import LARGEST_SIDE

MOST = 1 << 26  # bytes of one array: latents of 8192x8192 pixels as float64 have half of it


def path_of(folder: Path, key: str) -> Path:
    """Return where the latents of an image lie. UserError for an id that leads out of the folder."""
    ids.require_below(key, folder)
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
    with np.errstate(over="ignore"):
        finite = np.isfinite(latents.astype(np.float32, copy=False)).all()
    if not finite:
        what = "values beyond float32" if np.isfinite(latents).all() else "NaN or infinity"
        raise CorruptSample(f"{path}: latents hold {what}; make them again or take {key!r} out")
    return Latents(latents, original, crop)


def arrays_of(path: Path) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
    """Return (latents, original size, crop's left and top) as they stand in the file.

    Any exception where it is damaged.
    """
    # A pipe in its place would be waited for, without the flag; with it, it reads as empty.
    with open(path, "rb", opener=without_waiting) as file, np.load(file, allow_pickle=False) as archive:
        for entry in archive.zip.infolist():  # a small archive may unpack to gigabytes
            if entry.file_size > MOST:
                raise ValueError(f"{entry.filename!r:.40} unpacks to {entry.file_size:,} bytes")
        latents, original, crop = archive["latents"], archive["original_size"], archive["crop_ltrb"]
    if latents.dtype.kind != "f" or latents.dtype.itemsize > 8:
        raise ValueError(f"latents are {latents.dtype}")
    width, height = pair_of("original_size", original, 2, least=1)
    left, top = pair_of("crop_ltrb", crop, 4, least=0)
    return latents, (width, height), (left, top)


def pair_of(name: str, found: np.ndarray, count: int, least: int) -> tuple[int, int]:
    """Return the first two of an array of pixels, whole numbers of any kind. ValueError for what no image has."""
    if found.shape != (count,) or found.dtype.kind not in "iuf":
        raise ValueError(f"{name} is {found.dtype} {found.shape}")
    if not ((found >= least) & (found <= LARGEST_SIDE) & (found == np.floor(found))).all():
        raise ValueError(f"{name} is {found.tolist()}")
    return int(found[0]), int(found[1])


def without_waiting(path: str, flags: int) -> int:
    """Open a file, or what stands in its place, at once."""
    return os.open(path, flags | os.O_NONBLOCK)


def missing(path: Path, key: str, error: OSError) -> UserError:
    """Return the error for a file that is not there or cannot be opened."""
    if error.errno == errno.ENOENT:
        return UserError(f"{path} is missing, but the metadata list {key!r}; make it again or take it out")
    return UserError(f"{path} cannot be read ({error.strerror}), but the metadata list {key!r}; mend that")


def corrupt(path: Path, key: str, error: Exception) -> CorruptSample:
    """Return the error for a damaged file; its reason on one line, however the library words it."""
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return CorruptSample(f"{path} is corrupt ({reason}); make it again or take {key!r} out of the metadata")


class NpzStore:
    """A folder of npz files."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, row: int, sample) -> Latents:
        """Return the latents of a row of the index, which is `sample`, as float32."""
        found = load(self.folder, sample.key, sample.width, sample.height)
        return Latents(found.latents.astype(np.float32, copy=False), found.original_size, found.crop)
