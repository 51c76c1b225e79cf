"""Copies files to a tmpfs: each is read back and compared, and appears under its name only then."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from extensions.base.errors import UserError

BLOCK = 1 << 22


@dataclass(frozen=True)
class Input:
    """One flag's file or folder, and its place on the tmpfs. suffix: of the folder's files that are read."""

    flag: str
    source: Path
    target: Path
    suffix: str = ""

    def files(self) -> Iterator[tuple[os.PathLike, Path]]:
        """Yield (file, its copy) of the file, or of the folder's files; those of a suffix also from folders in it."""
        if self.source.is_file():
            yield self.source, self.target
            return
        for name, entry in names(self.source, deep=bool(self.suffix)):
            if entry.name.endswith(self.suffix) and entry.is_file():
                yield entry, self.target / name


def names(folder: Path, deep: bool = True) -> Iterator[tuple[str, os.DirEntry]]:
    """Yield (path below the folder, entry) of what is no folder. deep: in the folders in it, too, but hidden ones."""
    folders, seen = [""], set()
    while folders:
        inner = folders.pop()
        facts = os.stat(folder / inner)
        if (facts.st_dev, facts.st_ino) in seen:  # links may lead round in a circle
            continue
        seen.add((facts.st_dev, facts.st_ino))
        with os.scandir(folder / inner) as entries:
            for entry in entries:
                if not entry.is_dir():
                    yield os.path.join(inner, entry.name), entry
                elif deep and not entry.name.startswith("."):
                    folders.append(os.path.join(inner, entry.name))


def is_current(file: os.PathLike, copy: Path) -> bool:
    """Tell whether a copy is there, itself and no link, and its source has not changed since."""
    try:
        one, other = os.stat(file), os.lstat(copy)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(other.st_mode) and (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def copy_all(each: Input, partial: Path) -> None:
    """Copy an input's files, and remove copies whose source is gone."""
    folder = each.target if each.source.is_dir() else each.target.parent
    folder.mkdir(parents=True, exist_ok=True)
    partial.mkdir(exist_ok=True)
    kept = 0
    for file, copy in each.files():
        if not is_current(file, copy):
            copy_one(Path(file), copy, partial)
        kept += 1
    if each.source.is_dir() and sum(1 for _ in names(folder)) > kept:
        remove_others(each.source, folder)


def remove_others(source: Path, folder: Path) -> None:
    """Remove copies of files that were taken out of the data: they must not be trained on."""
    for name in [name for name, _ in names(folder)]:
        if not (source / name).is_file():
            (folder / name).unlink()


def copy_one(file: Path, target: Path, partial: Path) -> None:
    """Copy one file, read the copy back and compare; it appears under its name only then."""
    temporary = partial / target.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "rb") as source, open(temporary, "wb") as out:
        before = os.fstat(source.fileno())
        written = digest(source, out)
        after = os.fstat(source.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UserError(f"RAMDISK=1: {file} changed while it was copied; start again when it is whole")
    with open(temporary, "rb") as again:
        if digest(again) != written:
            raise UserError(f"RAMDISK=1: the copy of {file} differs from it; check the memory, or give RAMDISK=0")
    os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(temporary, target)


def digest(source, out=None) -> bytes:
    """sha256 of a stream, which is written to `out` on the way."""
    hasher = hashlib.sha256()
    while block := source.read(BLOCK):
        hasher.update(block)
        if out:
            out.write(block)
    return hasher.digest()
