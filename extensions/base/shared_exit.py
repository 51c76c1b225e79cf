"""How the processes of a run end together: a line that all of them would say is said by one, the first end counts.

extensions/launch/spawn.py gives the processes of this machine a folder. A process without one is alone. The
first end is a symbolic link whose target is the exit code: made in one call with its content, or not at all.
"""

import hashlib
import os
from pathlib import Path

FOLDER = "EXTENSIONS_ENDS"
ONE_REQUEST = 2.0  # seconds in which further signals are the same one: a launcher passes on what all have received
FIRST = "first"


def note(code: int) -> None:
    """This process ends with that exit code."""
    if folder := os.environ.get(FOLDER):
        _made(lambda: os.symlink(str(code), Path(folder, FIRST)))


def first() -> int | None:
    """The exit code of the process that ended first of those that failed; None where there is none."""
    folder = os.environ.get(FOLDER)
    try:
        return int(os.readlink(Path(folder, FIRST))) if folder else None
    except OSError:
        return None


def mine(line: str) -> bool:
    """Whether this process is to say the line. Of all that ask for one line, the first gets True."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return True
    name = hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()
    return _made(lambda: os.mkdir(Path(folder, name)))


def _made(make) -> bool:
    """Whether `make` made what was not there. True where nothing can be made: better told twice than never."""
    try:
        make()
    except FileExistsError:
        return False
    except OSError:
        return True
    return True
