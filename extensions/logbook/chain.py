"""Trains the segments of a session one after the other, each from its parent's exact state (make chain).

With PROFILE=tiny the same steps are then trained once more without a break, and the last states of both are
compared: weights, optimizer, schedule and random streams must be equal to the last bit.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS, RUNTIME, shown
from extensions.base.reporting import exit_code_of
from extensions.flags import values
from extensions.launch import tiny
from extensions.launch.stages import TRAINERS
from extensions.logbook import registry, tables
from extensions.logbook.registry import Run
from extensions.resume import states
from extensions.resume.description import State


def main(words: list[str]) -> int:
    """SESSION [FOLDER]: run the chain below FOLDER; 1 when it is not equal to the unbroken run."""
    session = words[0] if words else ""
    runs = chain(registry.read_all(), session)
    folder = Path(words[1]) if len(words) > 1 else default_folder(session)
    if values.switch("FORCE", os.environ.get("FORCE")):
        begin_anew(folder)
    lines = [[run.run, *segment(run, folder, runs[0].steps)] for run in runs]
    tables.show(["segment", "from", "to", "seconds"], lines)
    if not in_tiny():
        return 0
    return compared(last_state(folder / "segments", runs[-1]), unbroken(runs[0], folder))


def begin_anew(folder: Path) -> None:
    """Remove what the stand-ins left. UserError at full size, where it is weeks of training."""
    if not in_tiny() and folder.exists():
        raise UserError(
            f"FORCE=1 would remove {shown(folder)}, all checkpoints and states of the chain; remove it yourself, "
            "give another OUTPUT, or drop FORCE=1 to go on"
        )
    shutil.rmtree(folder, ignore_errors=True)


def chain(runs: dict[str, Run], session: str) -> list[Run]:
    """Return the runs of a session that continue each other, in order. UserError where there are none."""
    children = {run.parent: run for run in runs.values() if run.session == session and run.parent}
    found = [run for run in runs.values() if run.session == session and run.run in children and not run.parent]
    if not found:
        sessions = ", ".join(sorted({run.session for run in runs.values() if run.parent}))
        raise UserError(f"SESSION={session} has no run that continues another; there is: {sessions}")
    while child := children.get(found[-1].run):
        found.append(child)
    return found


def default_folder(session: str) -> Path:
    """Return where the outputs of a chain go: one folder a trainer, so that both can be kept."""
    trainer = os.environ.get("TRAINER") or TRAINERS[0]
    return Path(os.environ.get("OUTPUT") or RUNTIME / "output") / f"chain_{session}_{trainer}"


def in_tiny() -> bool:
    """Tell whether stand-ins are trained."""
    return os.environ.get("PROFILE") == "tiny"


def scaled(steps: int) -> int:
    """Optimizer steps of this profile."""
    return tiny.scaled(steps) if in_tiny() else steps


def segment(run: Run, folder: Path, total: int) -> list[str]:
    """Train one segment, if it is not done already; its line of the table."""
    start, stop = scaled(run.start_step), scaled(run.stop_step or total)
    output = folder / "segments"
    began = time.monotonic()
    if not (states.folder_of(output / f"model_out_{run.run}") / states.name_of(stop)).is_dir():
        launch(run, output, total, RESUME="parent" if run.parent else "auto")
    return [f"{start:,}", f"{stop:,}", f"{time.monotonic() - began:.0f}"]


def launch(run: Run, output: Path, total: int, args: str = "", **variables: str) -> None:
    """Run a launcher. UserError when it fails.

    A tiny segment would otherwise be cut at TINY_STEPS, and its schedule end there.
    """
    if in_tiny():
        args = f"--max_train_steps={scaled(total)} {args}"
        variables |= {"TINY_STEPS": str(scaled(total))}
    words = f"{os.environ.get('ARGS', '')} {args}".strip()
    environment = os.environ | variables | {"OUTPUT": str(output), "ARGS": words}
    environment.pop("FORCE", None)
    code = subprocess.run([LAUNCHERS / f"{run.run}.sh"], env=environment, check=False).returncode
    if code:
        raise UserError(f"segment {run.run} ended with exit code {code}; mend it and give the same command again")


def unbroken(run: Run, folder: Path) -> State:
    """Return the last state of all steps in one launch."""
    output, stop = folder / "unbroken", scaled(run.steps)
    if not (states.folder_of(output / f"model_out_{run.run}") / states.name_of(stop)).is_dir():
        launch(run, output, run.steps, f"--stop_at_step={stop}", RESUME="auto")
    return last_state(output, run)


def last_state(output: Path, run: Run) -> State:
    """Return the newest state of a run. UserError where there is none that is whole."""
    folder = states.folder_of(output / f"model_out_{run.run}")
    state = states.newest_good(folder)
    if state is None:
        raise UserError(f"{folder} holds no whole state; give the same command again")
    return state


def compared(one: State, other: State) -> int:
    """Print file by file whether two states are equal; 0 if all are."""
    names = sorted(one.facts.files.keys() | other.facts.files.keys())
    equal = {name: one.facts.files.get(name) == other.facts.files.get(name) for name in names}
    tables.show(["file of the state", "equal to the last bit"], [[name, str(equal[name])] for name in names])
    same_place = all(
        getattr(one.facts, key) == getattr(other.facts, key) for key in ("optimizer_steps", "micro_steps", "samples")
    )
    whole = same_place and all(equal.values())
    said = "equal to" if whole else "DIFFERENT from"
    print(f"{shown(one.path)} is {said} {shown(other.path)}")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
