"""Run the training process: everything it prints goes to the terminal and to train.log."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(command: list[str], environment: dict[str, str], log: Path) -> int:
    """Run to the end; the exit code as a shell would give it (128 + signal for a killed process).

    Signals that reach us alone (a scheduler's SIGTERM) are passed on; then the process is waited for, so
    that a save under way can finish.
    """
    with open(log, "ab", buffering=0) as file:
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
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
    """A handler that passes a signal to the process and all its children."""

    def forward(number, _frame):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    return forward


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
