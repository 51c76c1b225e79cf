"""Locks an output folder for one launch: two would resume from, and remove, each other's half-written states.

flock itself and not filelock, which keeps the descriptor to itself: the training process must inherit it.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from extensions.base.errors import UserError, no_room
from extensions.launch.stages import Asked

FILE = ".launch.lock"
SECONDS = 5.0  # a launch that was killed takes a moment to be gone


@contextlib.contextmanager
def in_output(asked: Asked) -> Iterator[tuple[int, ...]]:
    """Hold the output folder. Gives the descriptors by which the training process, too, holds it: for its whole life,
    should the launcher be killed.

    UserError where another launch has it. A file system without locks, or a folder that cannot be written (which is
    checked elsewhere), is gone on with. Machine 0 alone writes there, so that it alone holds it.
    """
    path = asked.output / FILE
    made = [] if asked.machines.rank else missing(asked.output)
    file = None if asked.machines.rank else locked(path, asked.output)
    if file is None:
        yield ()
        return
    try:
        yield (file,)
    except UserError:
        leave_nothing(path, made)
        raise
    finally:
        os.close(file)


def locked(path: Path, output: Path) -> int | None:
    """Return the descriptor of the lock's file, held; None where there can be none.

    One that was taken away while it was waited for (`leave_nothing`) is no lock: somebody else may hold a new one.
    """
    while (file := opened(path)) is not None:
        try:
            take(file, output)
            if is_still(path, file):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    return None


def is_still(path: Path, file: int) -> bool:
    """Tell whether the file that is open is the one at that path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def missing(folder: Path) -> list[Path]:
    """Return the folders that are to be made for this one, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def leave_nothing(path: Path, made: list[Path]) -> None:
    """Take away what a launch that is refused has made: the lock's file, and folders that hold nothing else."""
    with contextlib.suppress(OSError):
        path.unlink()
        for folder in made:
            folder.rmdir()


def opened(path: Path) -> int | None:
    """Return the descriptor of the lock's file. UserError on a full disk, where another launch may train, too."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if full := no_room(error):
            raise full from None
        return None


def take(file: int, output: Path) -> None:
    """Lock it. It is the process's until the last copy of the descriptor is closed, however that ends."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise UserError(
                    f"another launch trains into {output}; stop it first, or give another OUTPUT"
                ) from None
            time.sleep(0.2)
        except OSError:  # a file system without locks
            return
