"""Files and folders that are either complete or absent, however the process ends."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extensions.errors import UserError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; it is renamed to `path` when the block succeeds.

    Raises UserError when the folder cannot be written.
    """
    path = Path(path)
    temporary = _beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block succeeds.

    A folder that another process put there first wins: both hold the same files.
    """
    path = Path(path)
    temporary = _beside(path)
    try:
        temporary.mkdir()
        yield temporary
        _rename_unless_present(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename_unless_present(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError:
        if not target.is_dir():
            raise


def _beside(path: Path) -> Path:
    # The suffix stays last because np.savez and friends append their own when it is missing.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose a writable folder") from error
    os.rmdir(folder)
    return Path(folder + path.suffix)
