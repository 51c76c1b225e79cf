"""Runs the training process: everything it prints goes to the terminal and to train.log."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from extensions.base.errors import EXPLAINED, UserError
from extensions.base.shared_exit import ONE_REQUEST

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TRAINERS = ("extensions.upstream", "extensions.reference")
GRACE = 5.0  # seconds after a second request until what still runs is killed
LOOKS = 0.5  # seconds between two looks whether that time has come


def run(command: list[str], environment: dict[str, str], log: Path, held: tuple[int, ...] = ()) -> int:
    """Run to the end; the exit code as a shell would give it (128 + signal for a killed process).

    held: descriptors that the process keeps open.

    Signals that reach us alone (a scheduler's SIGTERM) are passed on; then the process is waited for, so
    that it can finish its optimizer step and save. A second request ends it, come what may: `Requests`.
    """
    with open(log, "ab", buffering=0) as file:
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=held,
        )
        requests = Requests(process)
        previous = {number: signal.signal(number, requests.take) for number in FORWARDED}
        written = Log(file, requests)
        try:
            copy(process.stdout, written, requests.given_up)
            return written.code_of(requests.code_of(wait(process, requests.given_up)))
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class Requests:
    """What is done with the signals that the launcher gets: passed on, each of them.

    The first is a request to save and stop, and is waited for. One that comes more than ONE_REQUEST seconds later
    asks for the end at once: what still runs after GRACE seconds is killed. A process that sits in a collective, or
    in a write that a disk does not take, runs none of its own handlers.
    """

    def __init__(self, process: subprocess.Popen):
        self.process, self.family = process, {psutil.Process(process.pid)}
        self.first: float | None = None  # when the first came
        self.second: tuple[float, int] | None = None  # when the second came, and which signal it was

    def take(self, number, _frame=None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        if self.first is None:
            self.first = now
        elif self.second is None and now - self.first > ONE_REQUEST:
            self.second = (now, number)
            self.family = family(self.family)  # some may lose their parent meanwhile
        forward(self.process, number)

    def given_up(self) -> bool:
        """Kill what a second request has not ended in time; whether even that was in vain (a driver that hangs)."""
        if self.second is None:
            return False
        waited = time.monotonic() - self.second[0]
        if waited > GRACE:
            self.kill()
        return waited > 2 * GRACE

    def kill(self) -> None:
        """End all processes of the run: torchrun's are groups of their own, so that each is named."""
        self.family = family(self.family)
        for one in self.family:
            with contextlib.suppress(psutil.Error):
                one.kill()

    def code_of(self, code: int | None) -> int:
        """Return the launch's exit code. code: the process's, None where it cannot be ended.

        After a second request that signal's, unless the process has told how it ended, or was done.
        """
        if self.second is not None and code not in {0, *EXPLAINED}:
            self.kill()
            return 128 + self.second[1]
        assert code is not None  # nothing is given up before a second request
        return code if code >= 0 else 128 - code


def family(processes: set[psutil.Process]) -> set[psutil.Process]:
    """These and all below them, as far as they are still there."""
    found = set(processes)
    for one in processes:
        with contextlib.suppress(psutil.Error):
            found |= set(one.children(recursive=True))
    return found


def wait(process: subprocess.Popen, given_up: Callable[[], bool]) -> int | None:
    """Return the exit code of a process; None where it is given up before it ends."""
    while not given_up():
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(LOOKS)
    return None


def forward(process: subprocess.Popen, number: int) -> None:
    """Pass a signal to the processes that train; to all, where none does yet.

    torchrun is passed by: it would kill its processes half a minute after a signal, saved or not. So are the
    workers of the data loaders, whose death would end the training with an error.
    """
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        root = psutil.Process(process.pid)
        training = list(trainers(root))
        if not training:
            os.killpg(process.pid, number)
        for one in training:
            one.send_signal(number)


def trainers(root: psutil.Process) -> Iterator[psutil.Process]:
    """Yield the outermost processes below `root`, itself among them, that run a trainer's module."""
    if module_of(root) in TRAINERS:
        yield root
        return
    for child in root.children():
        yield from trainers(child)


def module_of(process: psutil.Process) -> str | None:
    """Return the module that a Python process runs (its first -m); None for others and for one that is gone."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return None
    after = [word for flag, word in zip(words, words[1:], strict=False) if flag == "-m"]
    return after[0] if after else None


def copy(source, file, given_up: Callable[[], bool]) -> None:
    """Copy bytes as they come, to the end; progress bars redraw their line and must not wait for its end.

    given_up: asked again and again; True ends the copying.
    """
    terminal = sys.stdout.buffer
    while not given_up():
        if not select.select([source], [], [], LOOKS)[0]:
            continue
        block = os.read(source.fileno(), 1 << 16)
        if not block:
            return
        file.write(block)
        try:
            terminal.write(block)
            terminal.flush()
        except BrokenPipeError:
            # The reader (a `| head`) is gone: the run goes on, its log is complete.
            terminal = open(os.devnull, "wb")


class Log:
    """Writes train.log. Where its disk takes no more, the run is asked to save and stop: what it says is lost."""

    def __init__(self, file, requests: Requests):
        self.file, self.requests, self.full = file, requests, False

    def write(self, block: bytes) -> None:
        """Write all of a block."""
        left = memoryview(block)
        try:
            while left and not self.full:
                left = left[self.file.write(left) :]
        except OSError as error:
            self.full = True
            print(
                f"error: {self.file.name} cannot be written ({error.strerror}); the run is asked to save and stop: "
                "make room, then go on",
                file=sys.stderr,
                flush=True,
            )
            self.requests.take(signal.SIGTERM)

    def code_of(self, code: int) -> int:
        """Return the launch's exit code. A run that was ended by this before it trained has something to mend."""
        return UserError.code if self.full and code == 128 + signal.SIGTERM else code
