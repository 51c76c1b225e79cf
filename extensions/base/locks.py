"""Lets one process at a time in, by a lock on a file; also where its file system knows no locks.

Some network file systems answer flock with ENOLCK or EOPNOTSUPP. A file in this machine's temporary folder is locked
instead: the ranks of a launch still wait for each other, other machines do not, which is said.
"""

import errno
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from extensions.base.errors import UserError
from extensions.base.processes import is_first

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}


@contextmanager
def held(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock of a file, which is made. timeout: seconds to wait for it; -1: as long as it takes.

    filelock.Timeout where another process holds it. UserError where the file cannot be made or opened.
    """
    with taken(path, timeout):
        yield


def taken(path: Path, timeout: float):
    """Return the lock, or that of its stand-in; it is released where the `with` block around it ends."""
    try:
        return FileLock(path).acquire(timeout=timeout)
    except Timeout:  # an OSError, too
        raise
    except NotImplementedError:  # what filelock makes of ENOSYS
        pass
    except OSError as error:
        if error.errno not in NO_LOCKS:
            why = error.strerror or error
            raise UserError(f"{path} cannot be locked ({why}); make its folder writable, with room") from None
    say_so(path.parent)
    return FileLock(stand_in(path)).acquire(timeout=timeout)


def stand_in(path: Path) -> Path:
    """Return the file of this machine that is locked instead; each user has another."""
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"sdxl-trainer-{os.getuid()}-{name}.lock"


@cache
def say_so(folder: Path) -> None:
    """Once a folder, and once a launch."""
    if is_first():
        what = "is on a file system without locks: only processes of this machine wait for each other"
        print(f"{folder} {what}", file=sys.stderr, flush=True)
