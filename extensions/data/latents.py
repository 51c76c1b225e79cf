"""Cached latents, one `<id>.npz` an image, as the historical data keeps them."""

import os
import zipfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from extensions.data.metadata import Metadata
from extensions.errors import UserError

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


def require_all(folder: Path, metadata: Metadata, open_them: bool = True) -> None:
    """UserError unless every id has a file; small sets are opened and read as well, unless told not to.

    One directory scan and a join in Arrow: 12.4 million `stat` calls would take longer than the scan.
    """
    if not folder.is_dir():
        raise UserError(f"no such folder of latents: {folder}")
    keys = metadata.table.column("key")
    missing = keys.filter(pc.invert(pc.is_in(keys, value_set=present_ids(folder))))
    if len(missing):
        example = missing[0].as_py()
        raise UserError(f"{len(missing)} of {len(metadata)} ids have no latents in {folder}, e.g. {example}.npz")
    if open_them and len(metadata) <= OPEN_ALL:
        for row in range(len(metadata)):
            sample = metadata[row]
            read(folder, sample.key, sample.width, sample.height)
