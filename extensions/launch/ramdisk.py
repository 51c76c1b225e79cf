"""Stages base model, metadata and latents in a tmpfs, from where the run reads them (RAMDISK=1).

Of the metadata it is the index that is copied: it is smaller than the JSON, which would be read once more to
make it. It is made beside the JSON, where the next launch finds it, too.

At four processes with several loader workers each, six thousand small files an epoch from a disk cost more
than the copy. What does not fit (the 12.4M set has over a terabyte) stays where it is, with one line; files
are counted only up to what would fit, so that millions are not looked at for nothing. A set that is staged
already costs two `stat` calls a file at each launch.

    python -m extensions.launch.ramdisk      remove what was staged (make ramdisk-clean)
"""

import fcntl
import hashlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.reporting import exit_with
from extensions.data import DATASET
from extensions.data.pack import is_pack
from extensions.data.sources import is_mixture
from extensions.launch.copying import Input, copy_all, is_current
from extensions.launch.memory import Room, gib, is_tmpfs, room
from extensions.launch.stages import Resolved, Staged, become, changed

STAGED = ("pretrained_model_name_or_path", "in_json", "train_data_dir")
HOME = "staged"  # all that we make is below it: the mount may hold other people's files
MARKER = ".sd-scripts-ramdisk"  # held while copies are made: one launch at a time
IN_USE = ".in-use"  # held, shared, while a run reads the copies
PARTIAL = "partial"  # files that are not whole yet; what is found there was interrupted


class FromDisk(Exception):
    """Why the inputs are not staged."""


def mount() -> Path:
    """RAMDISK_DIR, or a folder in shared memory."""
    return Path(os.environ.get("RAMDISK_DIR") or "/dev/shm/sd-scripts")


@contextmanager
def staged(now: Resolved, held: tuple[int, ...] = ()) -> Iterator[Staged]:
    """Stage the inputs of a launch; with RAMDISK=1 its flags name copies, which are kept while the block runs.

    What cannot be staged is read from its disk, with a note. UserError when a copy differs from its source
    (bad memory, a file that changes meanwhile).
    """
    with ExitStack() as stack:
        made = become(Staged, now, held=held)
        if now.ramdisk:
            try:
                made = stage(made, stack)
            except FromDisk as reason:
                made = changed(made, notes=[f"RAMDISK=1: {reason}; reading from disk"])
            except OSError as error:
                what = error.strerror or error
                hint = "make ramdisk-clean frees what was copied"
                note = f"RAMDISK=1: {mount()} cannot be used ({what}; {hint}); reading from disk"
                made = changed(made, notes=[note])
        yield made


def stage(now: Staged, stack: ExitStack) -> Staged:
    """Copy what is not there yet; the launch with the copies in its flags. FromDisk or OSError: nothing is staged."""
    if is_mixture(now.flags.get("in_json")):
        raise FromDisk("a mixture is read from the disks of its sources")
    root = home()
    stack.enter_context(locked(root / IN_USE, fcntl.LOCK_SH))
    inputs = [input_of(now, flag, root) for flag in STAGED]
    with locked(root / MARKER, fcntl.LOCK_EX):
        for path in (root / PARTIAL, *(path for each in inputs for path in (each.target.parent, each.target))):
            require_folder(path)
        shutil.rmtree(root / PARTIAL, ignore_errors=True)
        count, size = pending(inputs, room(root), root)
        if count:
            print(f"RAMDISK=1: copying {count:,} files, {gib(size)}, to {root} …", flush=True)
        began = time.monotonic()
        for each in inputs:
            copy_all(each, root / PARTIAL)
    seconds = time.monotonic() - began
    done = f"{gib(size)} copied in {seconds:.0f} s" if count else "all there already"
    flags = now.flags
    for each in inputs:
        flags = flags.with_(each.flag, each.target)
    return changed(
        now,
        flags=flags,
        sources=tuple((each.flag, now.path(each.flag).resolve()) for each in inputs),
        notes=[f"RAMDISK=1: reading base model, metadata and latents from {root} ({done})"],
    )


def home() -> Path:
    """Our folder on the tmpfs, made where it is missing. FromDisk where it is not in memory, or not ours.

    Shared memory is open to all: whoever can put a link where we write makes us write, and remove, elsewhere.
    """
    folder = mount()
    require_folder(folder)
    folder.mkdir(0o700, parents=True, exist_ok=True)
    if not is_tmpfs(folder):
        raise FromDisk(f"{folder} is not a tmpfs; mount one there, or give another RAMDISK_DIR")
    require_closed(folder)
    root = folder / HOME
    require_folder(root)
    root.mkdir(0o700, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise FromDisk(f"{root} belongs to another user; give another RAMDISK_DIR")
    root.chmod(0o700)
    return root


def require_closed(folder: Path) -> None:
    """Let nobody else put things in place of ours; FromDisk where that cannot be had."""
    facts = folder.stat()
    open_to_others = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not facts.st_mode & stat.S_ISVTX
    if facts.st_uid == os.getuid():
        if open_to_others:
            folder.chmod(facts.st_mode & 0o755)
    elif facts.st_uid or open_to_others:
        raise FromDisk(f"{folder} is another user's, or open to all; give another RAMDISK_DIR, or chmod +t {folder}")


def require_folder(path: Path) -> None:
    """Raise UserError where a symbolic link stands in place of one of our folders: it is not followed."""
    if path.is_symlink():
        raise UserError(
            f"{path} is a symbolic link to {os.readlink(path)}, which is not followed: remove the link, or let "
            "RAMDISK_DIR name the folder itself"
        )


def input_of(now: Resolved, flag: str, root: Path, index: Callable[[Path, Path], Path] | None = None) -> Input:
    """Return where a flag's files are staged: apart from others of the same name.

    index: returns the index of metadata and latents; None: it is made, or made again, where it has to be.
    """
    ours = now.flags.get("dataset_class") == DATASET
    source = now.path(flag).resolve()
    if ours and flag == "in_json":
        from extensions.data.index import ensure  # imports what a launch without it is spared

        source = (index or ensure)(source, now.path("train_data_dir"))
    place = root / hashlib.sha256(str(source).encode()).hexdigest()[:12]
    only_npz = ours and flag == "train_data_dir" and not is_pack(source)
    return Input(flag, source, place / source.name, ".npz" if only_npz else "")


def opened(path: Path):
    """Open the file of a lock, made where it is missing; OSError where it is a link."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


@contextmanager
def locked(path: Path, kind: int):
    """Hold a lock on a file; says so where another launch has to be waited for."""
    with opened(path) as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            print("RAMDISK=1: waiting for another launch that is copying …", flush=True)
            fcntl.flock(file, kind)
        yield


def pending(inputs: list[Input], space: Room, root: Path) -> tuple[int, int]:
    """Return (files, bytes) that are to be copied. FromDisk as soon as they do not fit."""
    before, count, size = space.bytes, 0, 0
    for each in inputs:
        for file, copy in each.files():
            if is_current(file, copy):
                continue
            of_file = os.stat(file).st_size
            count, size = count + 1, size + of_file
            if not space.take(of_file):
                raise FromDisk(no_room(space, before, root))
    return count, size


def no_room(space: Room, before: int, root: Path) -> str:
    """Return which limit was passed, and whether other runs' copies take part of it."""
    what = "more files than its file system allows" if space.files < 0 else f"more than the {gib(before)} to spare"
    others = root.is_dir() and any(path.is_dir() for path in root.iterdir())
    return f"{root} would need {what}" + (" (make ramdisk-clean removes what was staged before)" if others else "")


def clean() -> None:
    """Remove what was staged. UserError when a run is reading it, or when we did not make the folder."""
    root = mount() / HOME
    for path in (root.parent, root):
        require_folder(path)
    if not root.exists():
        print(f"{root} is not there; nothing to remove")
        return
    if not (root / MARKER).is_file():
        raise UserError(f"{root} was not made by RAMDISK=1; remove it by hand if it is not needed")
    with opened(root / IN_USE) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"a run is reading from {root}; clean when it has ended") from None
        try:
            shutil.rmtree(root)
        except OSError as error:
            raise UserError(f"{root} cannot be removed ({error.strerror}); remove it by hand") from None
    with suppress(OSError):  # a mount point, or a folder with other files, stays
        root.parent.rmdir()
    print(f"removed {root}")


if __name__ == "__main__":
    try:
        clean()
    except UserError as error:
        sys.exit(exit_with(error))
