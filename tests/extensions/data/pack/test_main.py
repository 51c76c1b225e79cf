"""`python -m extensions.data.pack`: what it refuses before it writes, and what a kill leaves."""

import signal
import subprocess
import sys

import pytest

from extensions.base.paths import ROOT
from tests.helpers.pack_cases import rows

KILLED = """
import os, signal, sys
from extensions.data.pack import __main__, write
plain, calls = write.verify, []
def verify(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    plain(*arguments)
write.verify = verify
__main__.app(sys.argv[1:])
"""


def test_a_pack_that_was_killed_leaves_nothing_half_written(data_set):
    folder = data_set.folder / "pack"
    words = [str(data_set.meta), str(data_set.data), str(folder), "--shard-gb=0.000024"]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(folder.glob("*.bin"))) == 2 + 1, "two shards, and the half of a third under a temporary name"
    done = subprocess.run(
        [sys.executable, "-m", "extensions.data.pack", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "12 images" in done.stdout, done.stderr
    assert not list(folder.glob(".*.bin")) and len(rows(data_set, folder)) == 12


def program(*words):
    command = [sys.executable, "-m", "extensions.data.pack", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_says_what_is_missing_before_it_writes(data_set):
    (data_set.data / "id4.npz").unlink()
    done = program(data_set.meta, data_set.data, data_set.folder / "pack", "--bad=skip")
    assert done.returncode == 2 and "id4" in done.stderr and done.stderr.count("\n") == 1
    assert not (data_set.folder / "pack").exists()


def test_a_pack_of_a_pack(data_set):
    done = program(data_set.meta, data_set.data, data_set.folder / "pack")
    assert done.returncode == 0 and "12 images in 3 shards" in done.stdout, done.stderr
    done = program(data_set.index.path, data_set.folder / "pack", data_set.folder / "other")
    assert done.returncode == 2 and "is a pack already" in done.stderr and not (data_set.folder / "other").exists()


@pytest.mark.parametrize("words", [["nothing.json", "."], [".", "nothing"]])
def test_bad_arguments_are_one_line(data_set, words):
    done = program(*words, data_set.folder / "pack")
    assert done.returncode == 2 and done.stderr.startswith("error: no such") and done.stderr.count("\n") == 1
