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
from pathlib import Path

from accelerate import Accelerator

from extensions.base.errors import UserError

CALLS = ("log", "log_images", "log_table", "finish")  # of accelerate's trackers, once they have begun
WRITER = "tensorboard.summary.writer"  # the module of TensorBoard's thread


def install(run_folder: str | None = None) -> None:
    """Let every accelerator of this process begin such trackers, once.

    run_folder: the run's, where there is one: wandb keeps its files there (else in the folder the run was started in)
    and calls the run by it. What the environment says already stays.
    """
    if run_folder:
        folder = Path(run_folder)
        os.environ.setdefault("WANDB_DIR", str(folder))
        os.environ.setdefault("WANDB_NAME", f"{folder.parent.name} {folder.name}")
    if getattr(Accelerator.init_trackers, "__wrapped__", None) is None:
        Accelerator.init_trackers = begun(Accelerator.init_trackers)  # type: ignore[method-assign]
        threading.excepthook = of_threads(threading.excepthook)


def begun(init_trackers: Callable) -> Callable:
    """Return accelerate's function. Raises UserError where a tracker cannot begin to write."""

    @functools.wraps(init_trackers)
    def begin(accelerator, *arguments, **keywords):
        try:
            init_trackers(accelerator, *arguments, **keywords)
        except Exception as error:
            if is_wandbs(error):
                raise UserError(
                    f"--log_with: wandb cannot begin ({reason(error)}); log in with `wandb login` or WANDB_API_KEY, "
                    "let WANDB_MODE=offline keep its log here, or give --log_with=tensorboard"
                ) from None
            if not isinstance(error, OSError):
                raise
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
            except Exception as error:
                if not (isinstance(error, OSError) or is_wandbs(error)):
                    raise
                if not gone:
                    print(f"{tracker.name} cannot write its log ({reason(error)}): it ends here, the run goes on")
                gone = True

        return guard

    for name in CALLS:
        if hasattr(tracker, name):
            setattr(tracker, name, guarded(getattr(tracker, name)))


def is_wandbs(error: Exception) -> bool:
    """Tell whether an error is one of wandb's own, which are not OSErrors."""
    return type(error).__module__.partition(".")[0] == "wandb"


def reason(error: Exception) -> str:
    """Return why something cannot be written, in a few words."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).partition("\n")[0] or type(error).__name__


def of_threads(told: Callable) -> Callable:
    """Return a hook for what ends a thread, which says nothing of TensorBoard's that has lost its disk."""

    def hook(ended) -> None:
        of_writer = type(ended.thread).__module__.startswith(WRITER)
        if not (of_writer and isinstance(ended.exc_value, OSError)):
            told(ended)

    return hook
