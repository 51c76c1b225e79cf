"""Every benchmark starts both ways: `python benchmarks/x.py` and `python -m benchmarks.x`."""

import os
import subprocess
import sys

import pytest

from extensions.base.paths import ROOT

FILES = sorted((ROOT / "benchmarks").glob("*.py"))
PROGRAMS = [path for path in FILES if "__main__" in path.read_text(encoding="utf-8")]
# Those that import another benchmark. The rest import torch and the trainers, some seconds each.
SIBLINGS = [path for path in PROGRAMS if "from benchmarks" in path.read_text(encoding="utf-8")]


def cases():
    assert len(PROGRAMS) > 5 and SIBLINGS
    return [pytest.param(path, marks=[] if path in SIBLINGS else pytest.mark.slow, id=path.stem) for path in PROGRAMS]


def started(words, folder):
    """Run with no help from PYTHONPATH; what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *words, "--help"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("path", cases())
def test_as_a_file_from_anywhere(path, tmp_path):
    assert started([str(path)], tmp_path).startswith(f"usage: {path.name}")


@pytest.mark.parametrize("path", cases())
def test_as_a_module(path):
    assert started(["-m", f"benchmarks.{path.stem}"], ROOT).startswith("usage: ")
