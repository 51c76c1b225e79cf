"""Turns an exception into an exit code: one line for what a user can mend, a traceback for what is ours."""

import os
import re
import signal
import sys
import traceback
from functools import partial

from extensions.base import shared_exit
from extensions.base.errors import EXPLAINED, UserError, no_room, printable

INTERRUPTED = 130  # 128 + SIGINT, as shells say it
# What gloo, NCCL and the processes' store say when the other end of a connection has closed it.
GONE = ("Connection closed by peer", "Connection reset by peer", "remote process exited", "Broken pipe")


def exit_with(error: BaseException | None) -> int:
    """Return the exit code for how a run ended, after saying why on stderr."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    error = no_room(error) or error
    if isinstance(error, UserError):
        return _end(error.code, f"error: {one_line(error)}")
    if isinstance(error, KeyboardInterrupt):
        return _end(INTERRUPTED, "interrupted")
    if shared_exit.first_exit() in EXPLAINED and lost_a_process(error):
        return _end(1, f"then, in another process: {str(error).strip().splitlines()[-1]}")
    traceback.print_exception(error)
    return _end(1)


def _end(code: int, line: str = "") -> int:
    """Return the code, noted for the launcher, after the line, unless another process of this run has said it."""
    # The launcher stops a process as soon as another has ended: not between the claim of a line and its print.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    shared_exit.record_exit(code)
    if line and shared_exit.claim_line(line):
        end_bars()
        # One write: torchrun's processes do not buffer, and print's two could be another process's line apart.
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return code


def end_bars() -> None:
    """End the line of each progress bar that is shown: what is said next stands in a line of its own."""
    bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
    for bar in list(getattr(bars, "_instances", ())):
        bar.close()


def lost_a_process(error: BaseException) -> bool:
    """Tell whether the error says that another process of the run is gone: what follows its end, not a cause."""
    said = str(error)
    return isinstance(error, RuntimeError) and any(sign in said for sign in GONE)


def exit_code_of(main, arguments: list[str]) -> int:
    """Return `main(arguments)` as a program: its exit code, or that of one line for what a user can mend.

    A reader that is gone, a `| head`, has what it wanted: 0, for make would complain of anything else.
    """
    try:
        code = main(arguments)
        sys.stdout.flush()  # a reader that is gone is noticed here at the latest, not in Python's own last flush
        return code
    except (UserError, KeyboardInterrupt) as error:
        return exit_with(error)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 0
    except OSError as error:
        if no_room(error) is None:
            raise
        return exit_with(error)


def exit_code_of_app(app, arguments: list[str]) -> int:
    """Return the same of a typer app."""
    return exit_code_of(partial(run_app, app), arguments)


def run_app(app, arguments: list[str]) -> int:
    """Run a typer app; its exit code. UserError for what its parser would say in a box of several lines."""
    try:
        code = app(arguments, standalone_mode=False)
    except Exception as error:  # typer has click's classes where it pleases; all of them can say what they mean
        said = getattr(error, "format_message", None)
        if said is None:
            raise
        if not arguments:  # nothing was asked for: the help
            print(said())
            return UserError.code
        raise UserError(" ".join(said().split())) from None
    return code if isinstance(code, int) else 0


def one_line(error: UserError) -> str:
    """Return the message. One raised in a data-loader worker arrives wrapped in the worker's traceback.

    A name in it may hold line breaks or a terminal's control sequences: they are shown escaped.
    """
    said = str(error).strip() or type(error).__name__
    if said.startswith("Caught "):
        said = re.split(r"^extensions\.[\w.]+: ", said, flags=re.MULTILINE)[-1]
    return printable(said)
