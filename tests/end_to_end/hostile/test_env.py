"""What a person's env.sh may hold: one line with the file's name, exit code 2, and no launch."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from extensions.base.paths import ROOT


@pytest.fixture
def here(tmp_path) -> Path:
    """A folder with the launchers and nothing else; Python writes down what it is given."""
    shutil.copytree(ROOT / "train", tmp_path / "train")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "sd-scripts-runtime" / "configs").mkdir(parents=True)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\n{ cat; echo "RAMDISK_DIR=$RAMDISK_DIR"; } > started\n')
    python.chmod(0o755)
    for name in ("pyproject.toml", "requirements.lock", ".venv/.installed"):
        (tmp_path / name).touch()
    return tmp_path


def written(here: Path, content: bytes) -> Path:
    path = here / "sd-scripts-runtime" / "configs" / "env.sh"
    path.write_bytes(content)
    return path


def launch(here: Path, **environment) -> subprocess.CompletedProcess:
    variables = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")} | environment
    return subprocess.run(
        ["train/25022601.sh"], cwd=here, env=variables, capture_output=True, text=True, check=False, timeout=60
    )


BAD = [
    (b"MODELS=${MODELS:-/m}\r\nOUTPUT=/o\r\n", "has line ends of Windows; run: sed -i"),
    (b'MODELS="/m\n', "is no shell script (line 1: unexpected EOF while looking for matching"),
    (b"if true\n", "is no shell script (line 2: syntax error"),
    (b"exit\n", "ends the launch: an exit, a command that fails"),
    (b"exit 0\n", "ends the launch"),
    (b"exit 3\n", "ends the launch"),
    (b"false\n", "ends the launch"),
    (b"cd /nowhere/at/all\n", "ends the launch"),
    (b"MODELS=$NOT_SET_ANYWHERE/m\n", "ends the launch"),
    (b"\xef\xbb\xbfMODELS=/m\n", "ends the launch"),
    (b'OUTPUT="~/models"\n', 'OUTPUT=~/models: in quotes ~ is no home folder; write OUTPUT="$HOME/models"'),
    (b"export LOGS='~'\n", 'LOGS=~: in quotes ~ is no home folder; write LOGS="$HOME"'),
    (b'export RAMDISK_DIR="~/ram"\n', "RAMDISK_DIR=~/ram: in quotes"),
    (b'DATASETS="~/d"\n', "DATASETS=~/d: in quotes"),
]


@pytest.mark.parametrize(("content", "line"), BAD, ids=lambda each: ascii(each)[:40])
def test_a_bad_file_ends_in_a_line(here, content, line):
    path = written(here, content)
    done = launch(here)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    *of_bash, last = done.stderr.splitlines()
    assert last.startswith("error: ") and line in last and (str(path) in last or "in quotes" in last), last
    assert len(of_bash) <= 1 and not (here / "started").exists() and path.read_bytes() == content


def test_a_tilde_of_the_caller(here):
    done = launch(here, OUTPUT="~/models")
    assert done.returncode == 2 and done.stderr.startswith("error: OUTPUT=~/models: in quotes ~")


@pytest.mark.parametrize("kind", ["folder", "link to nothing"])
def test_what_is_no_file(here, kind):
    path = here / "sd-scripts-runtime" / "configs" / "env.sh"
    path.mkdir() if kind == "folder" else path.symlink_to("nowhere")
    done = launch(here)
    assert (
        done.returncode == 2
        and done.stderr == f"error: {path}: is no file that can be read; copy env.example.sh there\n"
    )


def test_what_it_prints_or_sets_of_ours_changes_no_word(here):
    written(here, b"echo hello\nRUN=other\nROOT=/elsewhere\nset +e\nIFS=,\nOUTPUT='/o o'\nPATH=$PATH:~/bin\n")
    done = launch(here, GPUS="2")
    assert done.returncode == 0 and done.stdout == "" and done.stderr == "hello\n", done.stderr
    words = (here / "started").read_bytes().split(b"\0")
    assert words[0] == b"25022601" and b"--output_dir=/o o/model_out_25022601" in words and b"GPUS=2" in words


def test_the_example_is_good_and_ramdisk_clean_reads_it(here):
    example = (ROOT / "sd-scripts-runtime" / "configs" / "env.example.sh").read_bytes()
    written(here, example)
    assert launch(here).returncode == 0
    make = [shutil.which("make") or pytest.skip("make is not installed"), "ramdisk-clean"]
    done = subprocess.run(make, cwd=here, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert (here / "started").read_text() == "RAMDISK_DIR=/dev/shm/sd-scripts\n"
