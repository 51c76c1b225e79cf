"""Cached latents, one `<id>.npz` an image, as the historical data keeps them."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from extensions.errors import UserError

if TYPE_CHECKING:
    from extensions.data.index import Index

# A set of this size is opened whole before training (some seconds); a larger one is checked as it is
# read, because opening 12.4 million archives would take hours.
OPEN_ALL = 20_000
NAMES = 65_536  # file names an Arrow chunk is built of


@dataclass(frozen=True)
class Latents:
    """latents: float32 (4, h/8, w/8), not scaled. original_size: (w, h). crop: (left, top), pixels."""

    latents: np.ndarray
    original_size: tuple[int, int]
    crop: tuple[int, int]


def path_of(folder: Path, key: str) -> Path:
    """Where the latents of an image lie."""
    return folder / f"{key}.npz"


def read(folder: Path, key: str, width: int, height: int) -> Latents:
    """Read one file. UserError: missing, corrupt, of another size, or not finite."""
    path = path_of(folder, key)
    try:
        with np.load(path, allow_pickle=False) as archive:
            latents = archive["latents"].astype(np.float32, copy=False)
            original = archive["original_size"]
            crop = archive["crop_ltrb"]
    except FileNotFoundError:
        raise UserError(f"{path} is missing, but the metadata list {key!r}; make it again or take it out") from None
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError) as error:
        raise UserError(f"{path} is corrupt ({error}); make it again or take {key!r} out of the metadata") from None
    if latents.shape != (4, height // 8, width // 8):
        raise UserError(f"{path}: latents are {latents.shape}, train_resolution {width}x{height} says otherwise")
    if not np.isfinite(latents).all():
        raise UserError(f"{path}: latents hold NaN or infinity; make them again or take {key!r} out")
    return Latents(latents, (int(original[0]), int(original[1])), (int(crop[0]), int(crop[1])))


def present_ids(folder: Path) -> pa.ChunkedArray:
    """Ids that have a file, as Arrow text: a Python list of 12.4 million names would cost over a gigabyte."""
    with os.scandir(folder) as entries:
        names = (entry.name[:-4] for entry in entries if entry.name.endswith(".npz"))
        chunks = iter(lambda: pa.array(islice(names, NAMES), pa.string()), pa.array([], pa.string()))
        return pa.chunked_array(list(chunks), pa.string())


def require_readable(folder: Path, index: Index) -> None:
    """UserError unless the latents of a small set can all be read. That they are there the index has made sure of."""
    if len(index) > OPEN_ALL:
        return
    for row in range(len(index)):
        sample = index[row]
        read(folder, sample.key, sample.width, sample.height)
