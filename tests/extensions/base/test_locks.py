"""One process at a time, on file systems with locks and without."""

import errno
import fcntl
import os
import subprocess
import sys
import tempfile

import pytest
from filelock import Timeout

from extensions.base import locks
from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.data.index import opening
from extensions.data.pack import make

PLAIN = fcntl.flock
WITHOUT = [errno.ENOLCK, errno.EOPNOTSUPP]
SAID = "is on a file system without locks: only processes of this machine wait for each other"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def answers(folder, tmp_path, monkeypatch):
    """A function that lets locks in `folder` fail with an error of the system; the temporary folder has locks."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    locks.say_so.cache_clear()

    def fail_with(number):
        def flock(file, kind):
            descriptor = file if isinstance(file, int) else file.fileno()
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(folder)):
                raise OSError(number, os.strerror(number))
            return PLAIN(file, kind)

        monkeypatch.setattr(fcntl, "flock", flock)

    return fail_with


HOLD = """
import sys, tempfile
from pathlib import Path
from extensions.base import locks
tempfile.tempdir = sys.argv[2]
with locks.held(Path(sys.argv[1]) if len(sys.argv) == 3 else locks.stand_in(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    """A function that starts a process which holds a lock until it is told to end."""
    started = []

    def hold(*words):
        command = [sys.executable, "-c", HOLD, *map(str, words)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.communicate()


def test_another_process_is_waited_for_and_nothing_is_said(folder, tmp_path, holder, capsys):
    other = holder(folder / "lock", tmp_path)
    with pytest.raises(Timeout), locks.held(folder / "lock", timeout=0):
        pass
    other.communicate()
    with locks.held(folder / "lock", timeout=0), pytest.raises(KeyError), locks.held(folder / "other", timeout=0):
        raise KeyError
    with locks.held(folder / "lock", timeout=0), locks.held(folder / "other", timeout=0):
        pass
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("number", WITHOUT)
def test_without_locks_processes_of_this_machine_still_wait(folder, answers, holder, number, capsys):
    answers(number)
    for _ in range(2):
        with locks.held(folder / "lock", timeout=0):
            pass
    assert capsys.readouterr().err == f"{folder} {SAID}\n", "once"
    other = holder(folder / "lock", tempfile.tempdir, "the stand-in")
    with pytest.raises(Timeout), locks.held(folder / "lock", timeout=0):
        pass
    other.communicate()
    with locks.held(folder / "lock", timeout=0):
        pass


def test_of_many_processes_one_says_so(folder, answers, monkeypatch, capsys):
    answers(errno.ENOLCK)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with locks.held(folder / "lock"):
        pass
    assert capsys.readouterr().err == ""


def test_a_lock_that_cannot_be_made_is_one_line(folder, answers):
    answers(errno.EIO)
    said = r"data/lock cannot be locked \(Input/output error\)"
    with pytest.raises(UserError, match=said) as error, locks.held(folder / "lock"):
        pass
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", WITHOUT)
def test_an_index_and_a_pack_are_made_where_there_are_no_locks(folder, answers, number, capsys):
    answers(number)
    index = folder / "meta.json.index.arrow"
    with opening.locked(index, "builds the index"):
        taken = locks.stand_in(folder / ".meta.json.index.lock")
        with pytest.raises(Timeout), locks.held(taken, timeout=0):
            pass
    (folder / ".x.part.bin").touch()
    second = pytest.raises(UserError, match="another `make pack` is writing")
    with make.one_at_a_time(folder), second, make.one_at_a_time(folder):
        pass
    assert not (folder / ".x.part.bin").exists()
    assert SAID in capsys.readouterr().err
