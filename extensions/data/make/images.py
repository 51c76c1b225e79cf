"""Finds images below a folder: their ids, their texts, and the parts that `make latents` works in.

An image's id is its file's name without folder and extension. Ids go to one of 1,024 parts by their hash alone, so
that a set that grows keeps its parts and no process needs to know more than one.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from extensions.base.errors import UserError
from extensions.base.progress import progress
from extensions.data.make.prepare import Source

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
PARTS = 1024
CHUNK = 65_536  # file names an Arrow array is built of


@dataclass(frozen=True)
class Sidecars:
    """Where texts lie beside an image: the suffixes of the files with its tags and its caption."""

    tags: str = ".txt"
    caption: str = ".caption"

    def source(self, path: Path) -> Source:
        """Return an image with what its sidecars say. UserError for one that cannot be read."""
        return Source(path.stem, path, sidecar(path, self.tags), sidecar(path, self.caption))


def sidecar(image: Path, suffix: str) -> str | None:
    """Return the text beside an image; None where there is none. UserError for one that is no UTF-8."""
    path = image.with_suffix(suffix)
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path} cannot be read ({reason}); save it as UTF-8") from None


@dataclass(frozen=True)
class Found:
    """paths: of all images, relative to the folder; ids: of the same; part: int16 (n,), of each."""

    paths: pa.Array
    ids: pa.Array
    part: np.ndarray

    def parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (part, positions of its images, by id) of each part that has images, in order."""
        order = np.lexsort((pc.rank(self.ids, "ascending").to_numpy(), self.part))
        for chosen in np.split(order, np.flatnonzero(np.diff(self.part[order])) + 1):
            yield int(self.part[chosen[0]]), chosen


def find(folder: Path) -> Found:
    """Return all images below a folder, as Arrow text.

    UserError: no folder, no images, an id twice, a name not in UTF-8.
    """
    if not folder.is_dir():
        raise UserError(f"no such folder of images: {folder}")
    count, pieces = 0, [pa.array([], pa.string())]
    try:
        with progress(f"looking through {folder.resolve().name}", None, "images") as advance:
            for names in names_below(folder):
                pieces.append(pa.array(names, pa.string()))
                count += len(names)
                advance(count, count)
    except UnicodeEncodeError as error:
        raise UserError(f"the file name {error.object!r:.120} below {folder} is not UTF-8; rename it") from None
    except OSError as error:
        what, why = error.filename or folder, error.strerror
        raise UserError(f"{what} cannot be read ({why}); mend that, or give another folder of images") from None
    paths = pa.concat_arrays(pieces)
    if not len(paths):
        raise UserError(f"{folder} holds no images ({', '.join(SUFFIXES)}); give another folder")
    ids = pc.replace_substring_regex(paths, r"^(?:.*/)?([^/]*)\.[^./]+$", r"\1")
    require_distinct(ids, paths)
    hashes = (xxhash.xxh3_64_intdigest(key.as_py().encode()) % PARTS for key in ids)
    return Found(paths, ids, np.fromiter(hashes, np.int16, len(ids)))


def names_below(folder: Path) -> Iterator[list[str]]:
    """Yield paths of the images, in lists of at most CHUNK: a flat folder of millions is never a list in memory."""
    paths = paths_below(folder)
    while names := list(islice(paths, CHUNK)):
        yield names


def paths_below(folder: Path) -> Iterator[str]:
    """Yield images' paths, relative to the folder. Hidden files, folders that are links, and folders that the process
    may not read are passed over."""
    folders = [""]
    while folders:
        below = folders.pop()
        with suppress(PermissionError), os.scandir(folder / below) as entries:
            for entry in entries:
                path = os.path.join(below, entry.name)
                if entry.is_dir():
                    folders += [] if entry.is_symlink() else [path]
                elif entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                    yield path


def require_distinct(ids: pa.Array, paths: pa.Array) -> None:
    """Raise UserError for two images of one id."""
    counts = pc.value_counts(ids)
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        both = paths.filter(pc.equal(ids, twice[0])).to_pylist()
        raise UserError(f"{both[0]} and {both[1]} have the same id {twice[0].as_py()!r}; rename one of them")
