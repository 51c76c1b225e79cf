"""A .venv that a killed set-up has left half made: it is made again, or one line says what is missing."""

import os
import shutil
import subprocess

import pytest

from extensions.base.paths import ROOT

MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(not MAKE, reason="make is not installed")

BASE = """#!/bin/bash
echo "base $*" >> said
if [[ $1 == -m ]]; then
  [[ -e no-venv ]] && exit 1
  mkdir -p .venv/bin && cp whole .venv/bin/python
fi
"""
WHOLE = """#!/bin/bash
echo "venv $*" >> said
[[ -e offline && $* == *install* ]] && exit 1
exit 0
"""


@pytest.fixture
def here(tmp_path):
    """A folder with the Makefile and programs that write down how they are called."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name, text in (("base", BASE), ("whole", WHOLE)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def setup(here):
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        [MAKE, "setup", "BASE_PYTHON=./base"], cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    return done, (here / "said").read_text().splitlines()


@pytest.mark.parametrize("left", ["nothing", "no pip", "a broken link", "no interpreter"])
def test_what_is_half_made_is_made_again(here, left):
    if left != "nothing":
        (here / ".venv" / "bin").mkdir(parents=True)
    python = here / ".venv" / "bin" / "python"
    if left == "no pip":
        python.write_text('#!/bin/sh\n[ "$1" = -m ] && exit 1\n')
        python.chmod(0o755)
    elif left == "a broken link":
        python.symlink_to("/nowhere/python3.9")
        python.unlink()
    done, said = setup(here)
    assert done.returncode == 0 and "base -m venv --clear .venv" in said, done.stderr
    assert (here / ".venv" / ".installed").is_file() and sum("pip install" in line for line in said) == 4


def test_one_that_is_whole_is_kept(here):
    (here / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(here / "whole", here / ".venv" / "bin" / "python")
    done, said = setup(here)
    assert done.returncode == 0 and not [line for line in said if "venv --clear" in line]


@pytest.mark.parametrize(
    ("lack", "line"),
    [
        ("no-venv", "error: ./base makes no .venv; install its venv"),
        ("offline", "error: pip installs nothing: no net"),
    ],
)
def test_what_cannot_be_made_is_one_line(here, lack, line):
    (here / lack).touch()
    done, _ = setup(here)
    said = [each for each in done.stderr.splitlines() if not each.startswith("make: ")]
    assert done.returncode == 2 and len(said) == 1 and said[0].startswith(line)
    assert not (here / ".venv" / ".installed").exists()
