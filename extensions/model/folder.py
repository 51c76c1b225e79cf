"""Finds the checkpoints in a folder of a run, in the order in which they were made."""

import re
from collections.abc import Iterable
from pathlib import Path

from extensions.model.checkpoint import Header, read_header

# In a checkpoint's metadata: its optimizer step, and the launch and the run that wrote it.
STEPS, STARTED, RUN = "sdxl_trainer.optimizer_steps", "sdxl_trainer.started", "sdxl_trainer.run"
AVERAGE = "sdxl_trainer.average"  # the name of averaged weights


def checkpoints(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder; none where it cannot be read."""
    try:
        return sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("."))
    except OSError:
        return []


def place(header: Header) -> tuple[str, int, int]:
    """Sort checkpoints by the launch that made them, their optimizer step and their time."""
    return header.metadata.get(STARTED, ""), steps(header) or 0, header.path.stat().st_mtime_ns


def steps(header: Header) -> int | None:
    """Return the optimizer step of a checkpoint; None where it does not say."""
    said = header.metadata.get(STEPS, "")
    return int(said) if re.fullmatch(r"\d{1,18}", said) else None


def last(folders: Iterable[Path], step: int | None = None) -> Header | None:
    """Return the newest checkpoint of the first folder that has one; None where none has. Averages are none.

    step: of that optimizer step.
    """
    for folder in folders:
        found = [header for header in map(read_header, checkpoints(folder)) if AVERAGE not in header.metadata]
        found = [header for header in found if step in (None, steps(header))]
        if found:
            return max(found, key=place)
    return None
