"""Runs with a disk that is full for chosen files: a shared object before all others plays it (full_disk.c)."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.helpers.launching import Finished, launch

SOURCE = Path(__file__).with_name("full_disk.c")


def built(folder: Path) -> Path:
    """The shared object. The test is skipped where no C compiler is, or none that makes one for this system."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) is installed")
    library = folder / "full_disk.so"
    words = [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cc does not make full_disk.so here: {done.stderr.strip().splitlines()[0]}")
    return library


@dataclass(frozen=True)
class Full:
    """Files that find no room. when: make, write or sync; first: the first try that is refused, from 1."""

    pattern: str
    when: str
    first: int = 1

    def environment(self, folder: Path) -> dict[str, str]:
        chosen = {"FULL_DISK_PATTERN": self.pattern, "FULL_DISK_WHEN": self.when}
        if self.first > 1:
            chosen |= {"FULL_DISK_FROM": str(self.first), "FULL_DISK_COUNT": str(folder / "count")}
        return chosen


@dataclass
class Played:
    """A run below a folder, and what it did: made, what it opened for writing or made; hits, what was refused."""

    done: Finished
    made: list[str] = field(default_factory=list)
    hits: list[str] = field(default_factory=list)


def play(library: Path, folder: Path, full: Full | None, run: str, **settings) -> Played:
    """Launch a run below `folder`, its temporary files too, with what it does written down."""
    notes = folder.with_name(f"{folder.name} notes")
    notes.mkdir(parents=True, exist_ok=True)
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    more = full.environment(notes) if full else {}
    shown = notes / "list"
    shown.unlink(missing_ok=True)
    done = launch(
        run, folder, TMPDIR=folder / "tmp", LD_PRELOAD=preloaded(library), FULL_DISK_LIST=shown, **more, **settings
    )
    lines = shown.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if shown.exists() else []
    made = [line.partition(" ")[2] for line in lines if not line.startswith("hit ")]
    return Played(done, made, [line.partition(" ")[2] for line in lines if line.startswith("hit ")])


def preloaded(library: Path) -> str:
    """What is loaded before all else: what the caller has, and ours."""
    return " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD", "")]))


def unknown(made: list[str], patterns: list[str]) -> set[str]:
    """Of what a run made, the files that no pattern knows."""
    known = [re.compile(pattern) for pattern in patterns]
    return {path for path in made if not any(pattern.search(path) for pattern in known)}
