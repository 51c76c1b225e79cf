"""Runs a data verb as make does, and looks that what is refused is refused well."""

import subprocess
import sys
from pathlib import Path

from extensions.base.paths import ROOT


def verb(module: str, *words) -> subprocess.CompletedProcess:
    """`python -m extensions.data.<module>` with these words."""
    command = [sys.executable, "-m", f"extensions.data.{module}", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def refused(folder: Path, module: str, *words, made: set[str] = frozenset()) -> str:
    """The one line of a refusal, which has changed nothing below `folder` but names that begin with one of `made`."""
    before = contents(folder, made)
    done = verb(module, *words)
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert len(said) == 1 and done.stderr.splitlines()[-1] == said[0], done.stderr
    assert contents(folder, made) == before
    return said[0]


def contents(folder: Path, besides: set[str]) -> dict[str, bytes | None]:
    """What lies below a folder, with the bytes of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not any(name.lstrip(".").startswith(each) for each in besides):
            found[name] = path.read_bytes() if path.is_file() else None
    return found
