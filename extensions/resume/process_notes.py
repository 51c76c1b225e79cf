"""Passes notes from the ranks that write a state to rank 0: one each, in the folder that they write to.

Threads cannot use the collectives that the training is using, so they meet in the folder. A note names the files that
a process has written, or says why it could not: process 0 must not wait for what will never come.
"""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from extensions.base.errors import UserError

# Seconds that process 0 waits for the others' notes once its own files are written. Below the ten minutes after which
# NCCL ends the others, should they wait for process 0 meanwhile.
PATIENCE = 500
SAID_AFTER = 60  # seconds of waiting that need no word
VISIBLE = 30  # seconds after which a folder that another machine has made is seen on a shared disk
NOTE = "process-{}.json"


def seen(folder: Path) -> bool:
    """Tell whether this process finds the folder that process 0 has made."""
    until = time.monotonic() + VISIBLE
    while not folder.is_dir():
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True


def leave(folder: Path, process: int, content: dict) -> None:
    """Tell process 0 {"files": {name: entry}} or {"error": why}. OSError where the folder is gone.

    A full disk has no room even for a reason, but has for a name: an empty note says that much.
    """
    hidden = folder / f".{NOTE.format(process)}"
    with suppress(OSError):
        hidden.write_text(json.dumps(content), encoding="utf-8")
    hidden.rename(folder / NOTE.format(process))


def gathered(folder: Path, processes: Sequence[int]) -> dict[str, dict]:
    """Return the files of these processes, once all have said.

    UserError as soon as one has failed, or after PATIENCE.
    """
    files: dict[str, dict] = {}
    missing, began, said = list(processes), time.monotonic(), False
    while missing:
        for process in [each for each in missing if (folder / NOTE.format(each)).is_file()]:
            files |= taken(folder / NOTE.format(process), process)
            missing.remove(process)
        waited = time.monotonic() - began
        if missing and waited > PATIENCE:
            raise UserError(f"{named(missing)} did not write within {PATIENCE} s; see what holds its disk")
        if missing and waited > SAID_AFTER and not said:
            said = True
            print(f"{folder.parent}: waiting for the files of {named(missing)}, at most {PATIENCE} s", flush=True)
        time.sleep(0.05 if missing else 0)
    return files


def taken(note: Path, process: int) -> dict[str, dict]:
    """Return the files that one note names; it is removed. UserError where it says that there are none."""
    try:
        said = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        said = {"error": "no room on the disk"}
    note.unlink()
    if "files" not in said:
        raise UserError(f"process {process} could not write its files: {said['error']}")
    return said["files"]


def named(processes: Sequence[int]) -> str:
    """For a person."""
    return f"{'processes' if len(processes) > 1 else 'process'} {', '.join(map(str, processes))}"
