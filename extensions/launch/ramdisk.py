"""RAMDISK=1: base model, metadata and latents are copied to a tmpfs and read from there.

At four processes with several loader workers each, six thousand small files an epoch from a disk cost more
than the copy. What does not fit (the 12.4M set has over a terabyte) stays where it is, with one line; the
size is counted only up to what would fit, so that millions of files are not looked at for nothing.

    python -m extensions.launch.ramdisk clean
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from extensions.errors import UserError
from extensions.launch.request import Request
from extensions.reporting import exit_with
from extensions.saving import replacing

STAGED = ("pretrained_model_name_or_path", "in_json", "train_data_dir")
RESERVE = 8 << 30  # bytes of memory that stay free for the training itself
BLOCK = 1 << 22
MARKER = ".sd-scripts-ramdisk"  # `clean` removes a folder only if we made it


def mount() -> Path:
    """The folder to stage to: RAMDISK_DIR, or one in shared memory."""
    return Path(os.environ.get("RAMDISK_DIR") or "/dev/shm/sd-scripts")


def stage(request: Request) -> None:
    """Copy the run's inputs and point its flags at the copies; or note why not and change nothing.

    UserError when a copy differs from its source (bad memory, a file that changes meanwhile).
    """
    root = mount()
    sources = {flag: request.path(flag).resolve() for flag in STAGED}
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / MARKER).touch()
        room = capacity(root)
        if not fits((size for source in sources.values() for size in pending(source, target_of(root, source))), room):
            request.notes.append(f"RAMDISK=1: more than the {gib(room)} free in {root}; reading from disk")
            return
        for flag, source in sources.items():
            target = target_of(root, source)
            copied = sum(copy(file, copy_of) for file, copy_of in pairs(source, target))
            request.notes.append(f"RAMDISK=1: {source.name}: {gib(copied)} copied to {target.parent}")
            request.flags.put(flag, str(target))
    except OSError as error:
        for flag, source in sources.items():
            request.flags.put(flag, str(source))
        request.notes.append(
            f"RAMDISK=1: {root} cannot be used ({error.strerror}); reading from disk "
            "(make ramdisk-clean frees what was copied)"
        )


def target_of(root: Path, source: Path) -> Path:
    """Where a source is staged: apart from others of the same name."""
    return root / hashlib.sha256(str(source).encode()).hexdigest()[:12] / source.name


def pairs(source: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    """(file, its copy) of a file, or of a folder's files (latents lie flat)."""
    if source.is_file():
        yield source, target
        return
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_file():
                yield Path(entry.path), target / entry.name


def pending(source: Path, target: Path) -> Iterator[int]:
    """Bytes of each file that is not staged yet."""
    return (file.stat().st_size for file, copy_of in pairs(source, target) if not is_current(file, copy_of))


def is_current(file: Path, copy_of: Path) -> bool:
    """Whether a copy is there and its source has not changed since."""
    try:
        one, other = file.stat(), copy_of.stat()
    except FileNotFoundError:
        return False
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def fits(sizes: Iterator[int], room: int) -> bool:
    """Whether all sizes together fit; stops counting when they do not."""
    for size in sizes:
        room -= size
        if room < 0:
            return False
    return True


def capacity(root: Path) -> int:
    """Bytes that may be staged: what the mount has free, and what memory can spare."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return max(0, min(shutil.disk_usage(root).free, available - RESERVE))


def copy(file: Path, target: Path) -> int:
    """Copy one file unless its copy is current, read the copy back and compare; bytes copied."""
    if is_current(file, target):
        return 0
    with replacing(target) as temporary:
        with open(file, "rb") as source, open(temporary, "wb") as out:
            written = digest(source, out)
        with open(temporary, "rb") as again:
            if digest(again) != written:
                raise UserError(f"RAMDISK=1: the copy of {file} differs from it; check the memory, or set RAMDISK=0")
        shutil.copystat(file, temporary)
        times = file.stat()
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    return times.st_size


def digest(source, out=None) -> bytes:
    """sha256 of a stream, which is written to `out` on the way."""
    hasher = hashlib.sha256()
    while block := source.read(BLOCK):
        hasher.update(block)
        if out:
            out.write(block)
    return hasher.digest()


def gib(size: int) -> str:
    """Bytes for a person."""
    return f"{size / (1 << 30):.1f} GiB"


def clean() -> None:
    """Remove what was staged. UserError when the folder is not one that we made."""
    root = mount()
    if not root.exists():
        print(f"{root} is not there; nothing to remove")
        return
    if not (root / MARKER).is_file():
        raise UserError(f"{root} was not made by RAMDISK=1; remove it by hand if it is not needed")
    shutil.rmtree(root)
    print(f"removed {root}")


if __name__ == "__main__":
    try:
        clean()
    except UserError as error:
        sys.exit(exit_with(error))
