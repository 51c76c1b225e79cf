"""Ends all ranks of a run together: a line that all of them would say is said by one, the first end counts.

extensions/launch/spawn.py gives the processes of this machine a folder. A process without one is alone. The
first end is a symbolic link whose target is the exit code: made in one call with its content, or not at all.
"""

import hashlib
import os
from pathlib import Path

FOLDER = "EXTENSIONS_ENDS"
ONE_REQUEST = 2.0  # seconds in which further signals are the same one: a launcher passes on what all have received
FIRST = "first"


def record_exit(code: int) -> None:
    """Record that this process ends with an exit code, where it is the first to fail."""
    if folder := os.environ.get(FOLDER):
        _created(lambda: os.symlink(str(code), Path(folder, FIRST)))


def first_exit() -> int | None:
    """Return the exit code of the rank that failed first; None where none has."""
    folder = os.environ.get(FOLDER)
    try:
        return int(os.readlink(Path(folder, FIRST))) if folder else None
    except OSError:
        return None


def claim_line(line: str) -> bool:
    """Claim a line for this rank to say. Of all that claim the same line, the first gets True."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return True
    name = hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()
    return _created(lambda: os.mkdir(Path(folder, name)))


def _created(make) -> bool:
    """Tell whether `make` created what was not there. True where nothing can be: better said twice than never."""
    try:
        make()
    except FileExistsError:
        return False
    except OSError:
        return True
    return True
