"""Run the training process: everything it prints goes to the terminal and to train.log."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TRAINERS = ("extensions.upstream", "extensions.reference")


def run(command: list[str], environment: dict[str, str], log: Path, held: tuple[int, ...] = ()) -> int:
    """Run to the end; the exit code as a shell would give it (128 + signal for a killed process).

    held: descriptors that the process keeps open.

    Signals that reach us alone (a scheduler's SIGTERM) are passed on; then the process is waited for, so
    that it can finish its optimizer step and save.
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
        previous = {number: signal.signal(number, forwarder(process)) for number in FORWARDED}
        try:
            copy(process.stdout, file)
            code = process.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def forwarder(process: subprocess.Popen):
    """A handler that passes a signal to the processes that train; to all, where none does yet.

    torchrun is passed by: it would kill its processes half a minute after a signal, saved or not. So are the
    workers of the data loaders, whose death would end the training with an error.
    """

    def forward(number, _frame):
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            root = psutil.Process(process.pid)
            training = list(trainers(root))
            if not training:
                os.killpg(process.pid, number)
            for one in training:
                one.send_signal(number)

    return forward


def trainers(root: psutil.Process) -> Iterator[psutil.Process]:
    """The outermost processes below `root`, itself among them, that run a trainer's module."""
    if module_of(root) in TRAINERS:
        yield root
        return
    for child in root.children():
        yield from trainers(child)


def module_of(process: psutil.Process) -> str | None:
    """The module that a Python process runs (its first -m); None for others and for one that is gone."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return None
    after = [word for flag, word in zip(words, words[1:], strict=False) if flag == "-m"]
    return after[0] if after else None


def copy(source, file) -> None:
    """Copy bytes as they come; progress bars redraw their line and must not wait for its end."""
    terminal = sys.stdout.buffer
    while block := os.read(source.fileno(), 1 << 16):
        file.write(block)
        try:
            terminal.write(block)
            terminal.flush()
        except BrokenPipeError:
            # The reader (a `| head`) is gone: the run goes on, its log is complete.
            terminal = open(os.devnull, "wb")
