"""Keeps a run alive whose tracker's disk takes no more: a tracker is a display, and the training is worth more.

What a tracker cannot begin to write is refused, before the first optimizer step. What fails later (a full disk, a
service that is gone) is told once, and that tracker hears nothing more; nothing of the training depends on it.
TensorBoard writes in a thread, which ends with a traceback of its own before the trainer hears of it: that is kept
back, the trainer's next call says the same in one line.
"""

import functools
import os
import threading
from collections.abc import Callable

from accelerate import Accelerator

from extensions.base.errors import UserError

CALLS = ("log", "log_images", "log_table", "finish")  # of accelerate's trackers, once they have begun
WRITER = "tensorboard.summary.writer"  # the module of TensorBoard's thread


def install() -> None:
    """Let every accelerator of this process begin such trackers, once."""
    if getattr(Accelerator.init_trackers, "__wrapped__", None) is None:
        Accelerator.init_trackers = begun(Accelerator.init_trackers)  # type: ignore[method-assign]
        threading.excepthook = of_threads(threading.excepthook)


def begun(init_trackers: Callable) -> Callable:
    """Return accelerate's function. Raises UserError where a tracker cannot begin to write."""

    @functools.wraps(init_trackers)
    def begin(accelerator, *arguments, **keywords):
        try:
            init_trackers(accelerator, *arguments, **keywords)
        except OSError as error:
            where = f" in {accelerator.logging_dir}" if accelerator.logging_dir else ""
            names = " and ".join(tracker.name for tracker in accelerator.trackers)
            raise UserError(
                f"--log_with: {names} cannot begin its log{where} ({reason(error)}); make room, or let LOGS= name "
                "another disk"
            ) from None
        for tracker in accelerator.trackers:
            lasting(tracker)

    return begin


def lasting(tracker) -> None:
    """Let a tracker that fails to write fall silent, after one line."""
    gone = False

    def guarded(call: Callable) -> Callable:
        @functools.wraps(call)
        def guard(*arguments, **keywords):
            nonlocal gone
            if gone and call.__name__ != "finish":
                return
            try:
                call(*arguments, **keywords)
            except OSError as error:
                if not gone:
                    print(f"{tracker.name} cannot write its log ({reason(error)}): it ends here, the run goes on")
                gone = True

        return guard

    for name in CALLS:
        if hasattr(tracker, name):
            setattr(tracker, name, guarded(getattr(tracker, name)))


def reason(error: OSError) -> str:
    """Return why something cannot be written, in a few words."""
    return os.strerror(error.errno) if error.errno else str(error).partition("\n")[0]


def of_threads(told: Callable) -> Callable:
    """Return a hook for what ends a thread, which says nothing of TensorBoard's that has lost its disk."""

    def hook(ended) -> None:
        of_writer = type(ended.thread).__module__.startswith(WRITER)
        if not (of_writer and isinstance(ended.exc_value, OSError)):
            told(ended)

    return hook
