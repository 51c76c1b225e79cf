"""make watch in a terminal and without one: a real process, ended by the run or by Ctrl-C."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from extensions.base import manifest
from extensions.base.paths import ROOT
from tests.helpers.run_folders import HOSTILE, folder_of, lines

COMMAND = [sys.executable, "-m", "extensions.report", "watch"]


@pytest.fixture
def run(tmp_path):
    return folder_of(tmp_path / "logs", "r", "20260101T000000Z", lines(1, 50), exit_code=None, ended=None)


def test_without_a_terminal_one_summary(run, tmp_path):
    """A run that was started elsewhere, by its path; a terminal that has no block signs."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LOGS": str(tmp_path / "none")}
    done = subprocess.run(
        [*COMMAND, run], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0 and not done.stderr and done.stdout.isascii()
    assert "optimizer steps: 50 of 400 (12.5%)" in done.stdout and "\x1b" not in done.stdout


@pytest.fixture
def terminal(run, tmp_path):
    """The verb in a terminal; what it has shown so far is read by `until`."""
    main, other = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "LOGS": str(tmp_path / "logs"), "COLUMNS": "100"}
    # Who is started in the background of a script is deaf to Ctrl-C, and so would be what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([*COMMAND, "r"], cwd=ROOT, env=environment, stdout=other, stderr=other, stdin=other)
    signal.signal(signal.SIGINT, before)
    os.close(other)
    shown = b""

    def until(text: bytes | None) -> bytes:
        nonlocal shown
        end = time.monotonic() + 120
        while time.monotonic() < end and (text is None or text not in shown):
            try:
                shown += os.read(main, 1 << 16)
            except OSError:  # it has ended
                break
        return shown

    yield process, until
    if process.poll() is None:
        process.kill()
    process.wait()
    os.close(main)


def test_in_a_terminal_it_follows_to_the_end(terminal, run):
    process, until = terminal
    assert b"50 of 400" in until(b"50 of 400")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"optimizer_step": 51, "loss": 0.5}\n{"optimizer_step": 52, "lo')
    assert b"51 of 400" in until(b"51 of 400")
    manifest.update(run, ended="now", exit_code=0)
    assert b"r, done" in until(None)
    assert process.wait(60) == 0


def test_ctrl_c_ends_it_with_one_line(terminal):
    process, until = terminal
    until(b"50 of 400")
    process.send_signal(signal.SIGINT)
    # Python drops the exception where the signal comes amid a finalizer; a person presses again.
    again = threading.Timer(20, process.send_signal, [signal.SIGINT])
    again.start()
    shown = until(None)
    again.cancel()
    assert process.wait(60) == 130 and shown.rstrip().endswith(b"interrupted") and b"Traceback" not in shown


def test_names_are_texts(tmp_path):
    folder_of(tmp_path, HOSTILE.replace("/", "|"), "20260101T000000Z", lines(1, 5))
    words = [*COMMAND, str(tmp_path / HOSTILE.replace("/", "|"))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "\x1b" not in done.stdout and "\u202e" not in done.stdout
