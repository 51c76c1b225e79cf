"""Computes how much may be put into a tmpfs: its files are memory, and the training needs some."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096  # bytes; a tmpfs stores whole pages
ENTRY = 1024  # bytes of kernel memory that a file takes besides its pages (inode, directory entry)
RESERVE = 8 << 30  # bytes of memory that stay free for the training itself; on small machines a quarter
CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


@dataclass
class Room:
    """bytes and files that still fit."""

    bytes: int
    files: int

    def take(self, size: int) -> bool:
        """Count one more file of `size` bytes; whether it still fits."""
        self.bytes -= footprint(size)
        self.files -= 1
        return self.bytes >= 0 and self.files >= 0


def footprint(size: int) -> int:
    """Return bytes of memory that a file of `size` bytes takes. For small files the difference is large."""
    return -(-size // PAGE) * PAGE + ENTRY


def room(folder: Path) -> Room:
    """Return what fits into a tmpfs: by its own limits of bytes and files, and by what memory can spare."""
    facts = os.statvfs(folder)
    total, available = machine()
    spare = min(available, container()) - min(RESERVE, total // 4)
    free = min(facts.f_bavail * facts.f_frsize, spare)
    return Room(max(0, free), facts.f_favail if facts.f_files else 1 << 62)  # no count of files: no limit


def machine() -> tuple[int, int]:
    """Return (total, available) bytes of memory."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    found = {words[0]: int(words[1]) * 1024 for words in lines}
    return found["MemTotal:"], found["MemAvailable:"]


def container() -> int:
    """Return bytes that the process's container may still take; a huge number outside of one.

    What a limited container has cached of files is given back under pressure; a tmpfs is not among it.
    """
    for folder, limit, usage in CGROUPS:
        try:
            allowed, used = ((folder / name).read_text().strip() for name in (limit, usage))
            facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except OSError:
            continue
        if allowed != "max":
            return int(allowed) - int(used) + int(facts["active_file"]) + int(facts["inactive_file"])
    return 1 << 62


def is_tmpfs(folder: Path) -> bool:
    """Tell whether files put there are in memory. A mount that failed leaves a folder on the disk below it."""
    command = ["stat", "--file-system", "--format=%T", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "tmpfs"


def gib(size: int) -> str:
    """Return bytes for a person."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MiB"
