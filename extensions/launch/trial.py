"""Asks the trainer itself whether it takes the flags, where much would be done before it is started.

The trainer refuses in its first seconds what only it or a plugin can know: an unknown flag, a value out of range, a
pair that a plugin excludes, an optimizer argument that the library does not have. RAMDISK=1 copies gigabytes before
that, and makes an index of millions of images; `make plan` would plan what cannot be launched.
"""

import os
import subprocess
import sys
from pathlib import Path

from extensions.base.errors import UserError
from extensions.flags.words import Flags
from extensions.launch import command, run_folder, trainer
from extensions.launch.stages import SD_SCRIPTS, Asked
from extensions.upstream import submodule

# A state is made by as many processes as the run has, and compared with them there; here is one.
OF_A_STATE = ("resume_mode", "resume_from", "resume_allow")
SAID = "error: "


def check(asked: Asked, patched: Path | None) -> None:
    """Run the trainer up to where it would load something. UserError: what it refuses, in its own words.

    patched: the patched tree; None for the reference trainer. Takes as long as the trainer's imports.
    """
    flags = command.complete(asked, run_folder.planned(asked), patched)  # a folder that is not made
    words = [sys.executable, *command.trainer(patched, asked.script, flags.without(*OF_A_STATE), only_check=True)]
    environment = os.environ | command.environment(asked) | dict(asked.secrets)
    done = subprocess.run(
        words, check=False, env=environment, capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode == 0:
        return
    refused = [line.removeprefix(SAID) for line in done.stderr.splitlines() if line.startswith(SAID)]
    if refused:
        raise UserError(refused[-1])
    sys.stderr.write(done.stderr)
    raise UserError(f"{asked.trainer} cannot be started (exit code {done.returncode}); what it said stands above")


def show_help(asked: Asked, patched: Path | None) -> int:
    """Show the flags that the trainer and the run's plugins have; the exit code. Nothing is checked or made."""
    flags = Flags.of({name: asked.flags.values[name] for name in ("extensions",) if name in asked.flags})
    words = [sys.executable, *command.trainer(patched, asked.script, flags.with_("help"))]
    return subprocess.run(words, check=False, env=os.environ | command.environment(asked)).returncode


def of_plan(asked: Asked) -> None:
    """Do the same for a plan, which waits for no network: without sd-scripts it says that nobody was asked."""
    if asked.trainer == SD_SCRIPTS and not submodule.is_present():
        print("flags: not shown to the trainer: sd-scripts is not here yet (make patched gets it)\n")
        return
    check(asked, trainer.build(asked))
