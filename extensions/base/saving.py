"""Writes files and folders that appear under their final name only when they are whole."""

import hashlib
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from extensions.base.errors import UserError

LONGEST_NAME = 255  # bytes, on the file systems there are
UNDER_WAY = ".checkpoint.part"  # in the folder of the checkpoints: the one that is being written


def require_room(folder: Path, needed: int, what: str) -> None:
    """Raise UserError where the disk has less than `needed` bytes free. what: that takes so much, for the message."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(f"{folder} has {free / 1e9:.1f} GB free, {what} takes {needed / 1e9:.1f} GB; make room")


@contextmanager
def replacing(path: str | os.PathLike, durable: bool = True, temporary: Path | None = None):
    """Give a temporary path beside `path`; on success sync it and rename it over `path`.

    A crash or a full disk in between leaves what stood there before. The suffix is kept, because
    savers choose their format by it. durable=False leaves the sync out, for files that can be made again:
    a sync a file costs hours where files are counted in millions. temporary: a path to use instead, on the same
    disk, for a file so large that what a kill leaves of it must be found by the next try. UserError when the
    folder cannot be written.
    """
    path = Path(path)
    temporary = temporary or _beside(path)
    try:
        yield temporary
        if durable:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        # safetensors writes mode 0600, whatever the umask says.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_checkpoint(path: str | os.PathLike):
    """Do the same by way of a folder, which holds whatever a kill leaves: safetensors has its own temporary file.

    One process writes checkpoints to a folder, one at a time: what is there before is left of a killed one, and goes.
    """
    path = Path(path)
    remove_left(path.parent)
    folder = path.parent / UNDER_WAY
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path, temporary=folder / path.name) as temporary:
            yield temporary
    finally:
        remove_left(path.parent)


def remove_left(output: Path) -> None:
    """Take away what a killed process has left of a checkpoint, as far as that can be done."""
    shutil.rmtree(output / UNDER_WAY, ignore_errors=True)


@contextmanager
def replacing_folder(path: str | os.PathLike):
    """Do the same for a folder that does not exist yet.

    A folder that another process put there first wins: both hold the same files.
    """
    path = Path(path)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        if not path.is_dir():
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def writing(path: str | os.PathLike, advice: str):
    """Turn what the system says while `path` is written (a full disk) into one line with what to do, a UserError."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"{path} cannot be written ({why}); {advice}") from None


def _beside(path: Path) -> Path:
    """Return a name in the same folder that no other process uses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose a writable folder") from None
    name = f".{path.stem}.{os.getpid()}.part{path.suffix}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]
        name = f".{short}.{os.getpid()}.part{path.suffix}"
    return path.with_name(name)


def _umask() -> int:
    """Return the process's umask (readable only by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | os.PathLike, text: str) -> None:
    """Replace a text file at once."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
