"""The training process: exit codes, log, signals. Real processes."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from extensions.launch import process

STUBBORN = "import signal,time,sys; signal.signal(signal.SIGTERM, lambda *_: (print('saving'), sys.exit(7))); " \
    "print('ready', flush=True); time.sleep(60)"  # fmt: skip


def test_exit_code_output_and_log(tmp_path, capfdbinary):
    code = process.run([sys.executable, "-c", "import sys; print('o'); sys.stderr.write('e\\n'); sys.exit(5)"], {},
                       tmp_path / "log")  # fmt: skip
    assert code == 5
    assert sorted((tmp_path / "log").read_text().split()) == ["e", "o"]
    assert b"o" in capfdbinary.readouterr().out


def test_a_killed_process_gives_the_shells_code(tmp_path):
    kill = "import os,signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert process.run([sys.executable, "-c", kill], {}, tmp_path / "log") == 137


def test_variables_reach_the_process(tmp_path):
    process.run([sys.executable, "-c", "import os; print(os.environ['NAME'])"], {"NAME": "ü 3"}, tmp_path / "log")
    assert (tmp_path / "log").read_text() == "ü 3\n"


def test_sigterm_is_passed_on_and_waited_for(tmp_path):
    log = tmp_path / "log"
    outer = f"import sys; from extensions.launch import process; from pathlib import Path; " \
        f"sys.exit(process.run([sys.executable, '-c', {STUBBORN!r}], {{}}, Path({str(log)!r})))"  # fmt: skip
    parent = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (log.exists() and "ready" in log.read_text()):
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGTERM)
    assert parent.wait(timeout=20) == 7
    assert "saving" in log.read_text()


NAP = (
    "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: exit(9))\nprint('up', flush=True)\ntime.sleep(60)"
)
FORKS = "import os, time\nfor _ in range(2):\n    if not os.fork():\n        time.sleep(60)\n"


@pytest.fixture
def package(tmp_path):
    """A package named as ours, whose trainer forks two workers before it naps."""
    folder = tmp_path / "extensions"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "reference.py").write_text(FORKS + NAP)
    return tmp_path


def test_a_signal_is_for_those_that_train_not_their_launcher_or_workers(package):
    """A launcher in front, as torchrun is, and workers behind, as data loaders have them."""
    trainer = f"subprocess.run([sys.executable, '-m', 'extensions.reference'], cwd={str(package)!r})"
    outer = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; sys.exit({trainer}.returncode)"],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert outer.stdout.readline() == "up\n"
    found = list(process.trainers(psutil.Process(outer.pid)))
    family = psutil.Process(outer.pid).children(recursive=True)
    assert len(family) == 3 and [one.pid for one in found] == [family[0].pid]
    process.forwarder(outer)(signal.SIGTERM, None)
    assert outer.wait(timeout=20) == 9
    alive = [one for one in family[1:] if one.is_running()]
    assert len(alive) == 2  # they end with their trainer's own shutdown
    for one in alive:
        one.kill()
