"""Writes the checkpoints that a run had not come to when it ended, its training state already whole.

A trainer writes the checkpoint of an epoch, and the last one, after the optimizer step that ends it; a state is saved
in that step. Stopped or killed in between, the weights are in the state alone, and whoever goes on from it writes the
checkpoint first. Names are upstream's.
"""

from pathlib import Path

from extensions.resume.description import State
from extensions.resume.states import folder_of

FORMS = (".safetensors", ".ckpt", "")  # what --save_model_as writes; diffusers' is a folder
SLACK = 2 * 10**9  # ns; clocks of file systems are coarse


def last_name(output_name: str | None) -> str:
    """Of the checkpoint at the end of a run."""
    return output_name or "last"


def epoch_name(output_name: str | None, epoch: int) -> str:
    """Of the checkpoint after an epoch, counted from 1."""
    return f"{output_name or 'epoch'}-{epoch:06d}"


def owed(state: State, output: Path, name: str) -> bool:
    """Tell whether the run that wrote `state` below `output` has left no checkpoint `name` since.

    Not where the state is another run's: what it owes, it owes in its own folder.
    """
    if state.path.resolve().parent != folder_of(output).resolve():
        return False
    paths = (output / f"{name}{form}" for form in FORMS)
    written = [path.stat().st_mtime_ns for path in paths if path.exists()]
    return max(written, default=0) < state.facts.written_ns - SLACK
