"""Takes the sample grids of a run along: the PNG of each step, with the parameters that they were drawn with."""

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from extensions.report.records import Record

FOLDER = "samples"
NAME = re.compile(r"step(\d{1,12})\.png")
TEXT = 4000  # characters of the parameters that are shown


@dataclass(frozen=True)
class Grid:
    """One picture. name: its file in the report. said: what it was drawn with, as A1111 reads it, or nothing."""

    step: int
    name: str
    width: int
    height: int
    said: str


def copied(record: Record, folder: Path, prefix: str) -> list[Grid]:
    """Copy the grids of all launches to a folder."""
    found = files_of(record)
    grids = (copy(step, path, folder, f"{prefix}-step{step:08d}.png") for step, path in sorted(found.items()))
    return [grid for grid in grids if grid is not None]


def files_of(record: Record) -> dict[int, Path]:
    """Return the grids of all launches by optimizer step, a later launch's of the same step over an earlier's."""
    found: dict[int, Path] = {}
    for launch in record.launches:
        cut = launch.cuts.get("", None)
        for path in sorted((launch.folder / FOLDER).glob("step*.png")):
            if (match := NAME.fullmatch(path.name)) and (cut is None or int(match[1]) < cut):
                found[int(match[1])] = path
    return found


def copy(step: int, path: Path, folder: Path, name: str) -> Grid | None:
    """Copy one picture, unless it is there; None for a file that is no picture, or not whole."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            width, height = image.size
            said = str(image.info.get("parameters", ""))[:TEXT]
        target, facts = folder / name, path.stat()
        known = target.stat() if target.is_file() else None
        if known is None or (known.st_size, int(known.st_mtime)) != (facts.st_size, int(facts.st_mtime)):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            with suppress(OSError):
                target.chmod(0o644)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return Grid(step, name, width, height, said)
