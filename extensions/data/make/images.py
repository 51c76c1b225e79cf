"""Finds images below a folder: their ids, and the parts that `make latents` works in.

An image's id is its file's name without folder and extension, or its path below the folder without the latter. Ids
go to one of 1,024 parts by their hash alone, so that a set that grows keeps its parts and no process needs to know
more than one.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from extensions.base.errors import UserError
from extensions.base.progress import progress
from extensions.base.saving import write_text
from extensions.data.ids import line
from extensions.data.make.left_out import PassedOver

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".avif",
    ".jp2", ".j2k", ".mpo", ".ppm", ".pgm", ".pnm", ".tga",
)  # fmt: skip
# Folders that systems and programs make beside the photographs, with thumbnails or what was deleted.
SYSTEMS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
NAME, PATH = "name", "path"
# What of a path is the id, as a pattern and what it is replaced by.
ID = {NAME: (r"(?s)^(?:.*/)?([^/]*)\.[^./]+$", r"\1"), PATH: (r"(?s)\.[^./]+$", "")}
PARTS = 1024
CHUNK = 65_536  # file names an Arrow array is built of


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


def find(folder: Path, kind: str = NAME, passed: PassedOver | None = None) -> Found:
    """Return all images below a folder, as Arrow text. kind: of the ids, NAME or PATH.

    UserError: no folder, no images, a name not in UTF-8. passed: gets what is no image to be encoded.
    """
    if not folder.is_dir():
        raise UserError(f"no such folder of images: {folder}")
    count, pieces, passed = 0, [pa.array([], pa.string())], passed or PassedOver()
    try:
        with progress(f"looking through {folder.resolve().name}", None, "images") as advance:
            for names in names_below(folder, passed):
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
        over = f"; passed over: {told}" if (told := passed.told()) else ""
        raise UserError(f"{folder} holds no images ({', '.join(SUFFIXES)}){over}; give another folder")
    ids = pc.replace_substring_regex(paths, *ID[kind])
    hashes = (xxhash.xxh3_64_intdigest(key.as_py().encode()) % PARTS for key in ids)
    return Found(paths, ids, np.fromiter(hashes, np.int16, len(ids)))


def names_below(folder: Path, passed: PassedOver | None = None) -> Iterator[list[str]]:
    """Yield paths of the images, in lists of at most CHUNK: a flat folder of millions is never a list in memory."""
    paths = paths_below(folder, passed or PassedOver())
    while names := list(islice(paths, CHUNK)):
        yield names


def paths_below(folder: Path, passed: PassedOver) -> Iterator[str]:
    """Yield images' paths, relative to the folder.

    Passed over: what is hidden or a system's own, folders that are links, and folders that may not be read.
    """
    folders = [""]
    while folders:
        below = folders.pop()
        try:
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    path = os.path.join(below, entry.name)
                    if is_folder(entry):
                        folders += folder_to_enter(entry, path, passed)
                    elif not entry.name.lower().endswith(SUFFIXES):
                        passed.file(path)
                    elif entry.name.startswith("."):
                        passed.add(path, "hidden file", "its name begins with a dot; rename it to have it encoded")
                    else:
                        yield path
        except PermissionError as error:
            if not below:
                raise
            passed.add(below, "unreadable folder", f"{error.strerror}; make it readable")


def is_folder(entry: os.DirEntry) -> bool:
    """Tell whether this is a folder, or a link to one; a link that leads nowhere, or to itself, is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def folder_to_enter(entry: os.DirEntry, path: str, passed: PassedOver) -> list[str]:
    """Return the folder's path as a list; an empty one where it is passed over."""
    if entry.name.startswith(".") or entry.name in SYSTEMS:
        passed.add(path, "hidden folder", "hidden, or made by a system or program; rename it to have it encoded")
    elif entry.is_symlink():
        passed.add(
            path, "linked folder", "a link may lead round in a circle; name its target as IMAGES, or move it here"
        )
    else:
        return [path]
    return []


def require_distinct(found: Found, kind: str, listed: Path) -> None:
    """Raise UserError where images share an id; all of them are in `listed`, an id and a path a line."""
    counts = pc.value_counts(found.ids)
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if not len(twice):
        return
    clash = pc.is_in(found.ids, value_set=twice)
    keys, paths = (column.filter(clash).to_pylist() for column in (found.ids, found.paths))
    lines = sorted(f"{line(key).strip()}\t{line(path)}" for key, path in zip(keys, paths, strict=True))
    write_text(listed, "".join(lines))
    first, second = sorted(path for key, path in zip(keys, paths, strict=True) if key == keys[0])[:2]
    others = f", {len(twice) - 1:,} more ids are of several images" if len(twice) > 1 else ""
    way = " (IDS=path makes folders part of the ids)" if kind == NAME else ""
    raise UserError(
        f"{first} and {second} have the same id {keys[0]!r}{others}; all are in {listed}; rename them{way}"
    )
