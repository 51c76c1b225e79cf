"""The training process: exit codes, log, signals. Real processes."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from extensions.launch import child

STUBBORN = "import signal,time,sys; signal.signal(signal.SIGTERM, lambda *_: (print('saving'), sys.exit(7))); " \
    "print('ready', flush=True); time.sleep(60)"  # fmt: skip


def test_exit_code_output_and_log(tmp_path, capfdbinary):
    code = child.run([sys.executable, "-c", "import sys; print('o'); sys.stderr.write('e\\n'); sys.exit(5)"], {},
                       tmp_path / "log")  # fmt: skip
    assert code == 5
    assert sorted((tmp_path / "log").read_text().split()) == ["e", "o"]
    assert b"o" in capfdbinary.readouterr().out


def test_a_killed_process_gives_the_shells_code(tmp_path):
    kill = "import os,signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert child.run([sys.executable, "-c", kill], {}, tmp_path / "log") == 137


def test_variables_reach_the_process(tmp_path):
    child.run([sys.executable, "-c", "import os; print(os.environ['NAME'])"], {"NAME": "ü 3"}, tmp_path / "log")
    assert (tmp_path / "log").read_text() == "ü 3\n"


def launched(code, log, grace=5.0):
    """A launcher whose training process runs `code`, when that has said that it is ready."""
    run = f"child.run([sys.executable, '-c', {code!r}], {{}}, Path({str(log)!r}))"
    outer = "import sys; from extensions.launch import child; from pathlib import Path; " \
        f"child.GRACE = {grace}; sys.exit({run})"  # fmt: skip
    parent = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (log.exists() and "ready" in log.read_text()):
        time.sleep(0.05)
    return parent


def test_sigterm_is_passed_on_and_waited_for(tmp_path):
    log = tmp_path / "log"
    parent = launched(STUBBORN, log)
    os.kill(parent.pid, signal.SIGTERM)
    assert parent.wait(timeout=20) == 7
    assert "saving" in log.read_text()


DEAF = "import signal, time\nfor number in (1, 2, 15):\n    signal.signal(number, signal.SIG_IGN)\n"
# As torchrun starts its processes: each in a session of its own.
STUCK = (
    DEAF + "import subprocess, sys\n"
    "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
    "print(inner.pid, 'ready', flush=True)\n"
)
SECOND = child.ONE_REQUEST + 0.3  # seconds after the first signal


@pytest.mark.parametrize("then", ["time.sleep(60)", "import os\nos.close(1)\nos.close(2)\ntime.sleep(60)"])
def test_a_second_request_ends_what_hears_no_signal(tmp_path, then):
    """Also where nothing holds the pipe any more that the launcher reads."""
    log = tmp_path / "log"
    parent = launched(STUCK + then, log, grace=1.0)
    inner = psutil.Process(int(log.read_text().split()[0]))
    root = psutil.Process(parent.pid).children()[0]
    parent.send_signal(signal.SIGTERM)
    time.sleep(SECOND)
    assert parent.poll() is None and inner.is_running()
    began = time.monotonic()
    parent.send_signal(signal.SIGINT)
    assert parent.wait(timeout=20) == 128 + signal.SIGINT
    assert 0.5 < time.monotonic() - began < 10
    gone, alive = psutil.wait_procs([root, inner], timeout=5)
    assert len(gone) == 2 and not alive


def test_what_cannot_even_be_killed_is_not_waited_for(tmp_path, monkeypatch):
    """A process that hangs in a driver; here one that is spared."""
    monkeypatch.setattr(child, "GRACE", 0.1)
    monkeypatch.setattr(psutil.Process, "kill", lambda _: None)
    outer = subprocess.Popen([sys.executable, "-c", DEAF + "print('ready', flush=True)\ntime.sleep(60)"],
                             stdout=subprocess.PIPE, start_new_session=True)  # fmt: skip
    assert outer.stdout.readline() == b"ready\n"
    requests = child.Requests(outer)
    requests.take(signal.SIGTERM)
    requests.first -= SECOND
    requests.take(signal.SIGTERM)
    with open(tmp_path / "log", "wb") as file:
        child.copy(outer.stdout, file, requests.given_up)
    assert requests.code_of(child.wait(outer, requests.given_up)) == 128 + signal.SIGTERM
    assert outer.poll() is None
    os.kill(outer.pid, signal.SIGKILL)
    outer.wait(timeout=10)


def test_several_signals_at_once_are_one_request(tmp_path):
    """A terminal's Ctrl-C arrives several times; what takes its time to save has all it needs."""
    save = "def save(*_):\n    signal.signal(2, signal.SIG_IGN)\n    time.sleep(3)\n    sys.exit(75)\n"
    code = f"import signal, sys, time\n{save}signal.signal(2, save)\nprint('ready', flush=True)\ntime.sleep(60)"
    parent = launched(code, tmp_path / "log", grace=0.1)
    for _ in range(3):
        parent.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert parent.wait(timeout=20) == 75


def test_a_run_that_has_saved_in_spite_of_a_second_request_says_so(tmp_path):
    code = "import signal, sys, time\nsignal.signal(15, lambda *_: (time.sleep(3), sys.exit(75)))\n"
    code += "signal.signal(1, signal.SIG_IGN)\n"
    parent = launched(code + "print('ready', flush=True)\ntime.sleep(60)", tmp_path / "log")
    parent.send_signal(signal.SIGTERM)
    time.sleep(SECOND)
    parent.send_signal(signal.SIGHUP)
    assert parent.wait(timeout=20) == 75


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
    found = list(child.trainers(psutil.Process(outer.pid)))
    family = psutil.Process(outer.pid).children(recursive=True)
    assert len(family) == 3 and [one.pid for one in found] == [family[0].pid]
    child.forward(outer, signal.SIGTERM)
    assert outer.wait(timeout=20) == 9
    alive = [one for one in family[1:] if one.is_running()]
    assert len(alive) == 2  # they end with their trainer's own shutdown
    for one in alive:
        one.kill()


def test_a_full_log_before_the_training_is_something_to_mend(tmp_path, capfd):
    (tmp_path / "log").symlink_to("/dev/full")
    nap = "import time; print('loading', flush=True); time.sleep(60)"
    assert child.run([sys.executable, "-c", nap], {}, tmp_path / "log") == 2
    said = capfd.readouterr().err
    assert said.count("error: ") == 1 and "log cannot be written (No space left on device)" in said
    (tmp_path / "other").symlink_to("/dev/full")
    assert child.run([sys.executable, "-c", STUBBORN], {}, tmp_path / "other") == 7  # it has told how it ended
