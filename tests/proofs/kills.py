"""make kills: runs are killed (-9) again and again, resumed each time, and end as the unbroken run, bit for bit.

When and how a kill comes is drawn from the seed: while the run starts, at a moment of its training, in the middle of
a training state or of a checkpoint, or one process of several alone. Each is judged by itself: the last good state
is still there, nothing of the killed run is left running, and the state that the resumed run writes next has the
unbroken run's checksums. A run that has come to its end is judged by all its checkpoints, and the next one begins,
until all kills are done.
"""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of_app
from extensions.launch import tiny
from extensions.launch.stages import SD_SCRIPTS, TRAINERS
from extensions.resume import states
from extensions.upstream import tree
from tests.helpers.mixtures import halves
from tests.proofs.killing import KilledRun, Wrong, drawn, tensors_of

STEPS = 24  # optimizer steps of a run; the unbroken one keeps all its states, 1.6 GB, until their checksums are read

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Row:
    """So many kills of one trainer's runs on so many processes. more: flags of the runs. mixed: on two sources."""

    trainer: str
    processes: int
    kills: int
    steps: int = STEPS
    more: str = ""
    mixed: bool = False

    @property
    def name(self) -> str:
        mixed = "a mixture" if self.mixed else ""
        return " ".join(
            filter(None, [f"{self.trainer}, {self.processes} process{'es' * (self.processes > 1)}", mixed, self.more])
        )

    def flags(self, folder: Path) -> str:
        """Return the flags of the runs. folder: where the mixture is made."""
        return (
            f"{self.more} --in_json={halves(tiny.standins()['meta_sdxl'], folder, SECOND)}"
            if self.mixed
            else self.more
        )


# Weights that learn beside the model, and timesteps that belong to an update: both are more to lose than weights are.
LEARNED = (
    "--extensions=dual_tag,objective,timestep_draws,loss_weights,resume_at_step,save_states,on_nan,record_run "
    "--objective=v --zero_terminal_snr --timestep_draws=stratified --loss_weight=edm2 --gradient_accumulation_steps=2"
)
SECOND = 9  # optimizer step from which on the mixture has its second source
ROWS = (
    Row("reference", 1, 80),
    Row("reference", 2, 20),
    Row(SD_SCRIPTS, 1, 30),
    Row(SD_SCRIPTS, 2, 10),
    Row("reference", 2, 10, more=LEARNED, mixed=True),
    Row(SD_SCRIPTS, 2, 10, more=LEARNED, mixed=True),
)


@dataclass(frozen=True)
class Unbroken:
    """What a run that nobody kills writes: {state's name: its files' sizes and checksums}, {checkpoint's: digest}."""

    states: dict[str, dict]
    checkpoints: dict[str, str]


def train_unbroken(row: Row, folder: Path, flags: str) -> Unbroken:
    """Train once without a kill; the folder is removed once all is known of it."""
    run = KilledRun(folder, row.trainer, row.processes, row.steps, keep=row.steps, more=flags)
    run.start()
    run.finish()
    found, bad = states.found(run.states)
    whole = Unbroken({state.path.name: state.facts.files for state in found}, tensors_of(run.output))
    if bad or len(found) != row.steps or not whole.checkpoints:
        raise Wrong(f"the unbroken run: {len(found)} states, {len(whole.checkpoints)} checkpoints, {bad}")
    shutil.rmtree(folder)
    return whole


def kill(row: Row, seed: int, folder: Path) -> Iterator[str]:
    """Kill as often as the row says; what is said of each kill that was survived. Wrong: one was not."""
    flags = row.flags(folder)
    whole = train_unbroken(row, folder / "whole", flags)
    done = rounds = 0
    while done < row.kills:
        rounds += 1
        run = KilledRun(folder / f"broken{rounds}", row.trainer, row.processes, row.steps, more=flags)
        run.start()
        while done < row.kills and run.wait_for(now := drawn(f"{seed}/{row.name}/{done + 1}", row.processes)):
            before = run.take(now)
            run.start()
            after = run.next_state(before)
            require_equal(whole, after)
            done += 1
            yield f"kill {done} of {row.kills}, {now.kind}, after {before or 'no state'}: {after.path.name} is equal"
        run.finish()
        require_equal(whole, run.newest())
        if tensors_of(run.output) != whole.checkpoints:
            raise Wrong(f"{run.output}: the checkpoints' tensors are not the unbroken run's")
        shutil.rmtree(run.folder)


def require_equal(whole: Unbroken, state: states.State) -> None:
    """Raise Wrong for a state that is not the unbroken run's of that optimizer step."""
    wanted, files = whole.states[state.path.name], state.facts.files
    if other := sorted(name for name in wanted.keys() | files if wanted.get(name) != files.get(name)):
        raise Wrong(f"{state.path}: {', '.join(other)} differ from the unbroken run's")


def prove(row: Row, seed: int, tell=print) -> tuple[Counter, str]:
    """({kind of kill: how many were survived}, what went wrong or nothing). The folder of what did is kept."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    survived: Counter = Counter()
    try:
        for line in kill(row, seed, folder):
            survived[line.split(", ")[1]] += 1
            tell(f"{row.name}: {line}")
    except Wrong as error:
        return survived, f"{error} (kept: {folder})"
    shutil.rmtree(folder)
    return survived, ""


def chosen(trainer: str, processes: int, kills: int) -> list[Row]:
    """The rows of a trainer or a number of processes, or of any; with so many kills each, or their own number."""
    if trainer and trainer not in TRAINERS:
        raise UserError(f"TRAINER={trainer}: there are {' and '.join(TRAINERS)}")
    rows = [row for row in ROWS if trainer in ("", row.trainer) and processes in (0, row.processes)]
    if not rows:
        raise UserError(f"PROCESSES={processes}: the kills are proven on 1 and on 2")
    return [replace(row, kills=kills or row.kills) for row in rows]


@app.command()
def main(
    seed: Annotated[int, typer.Option()] = 1,
    trainer: Annotated[str, typer.Option()] = "",
    processes: Annotated[int, typer.Option(min=0)] = 0,
    kills: Annotated[int, typer.Option(min=0)] = 0,
) -> int:
    """Kill, print the table; 1 where a kill was not survived."""
    rows = chosen(trainer, processes, kills)
    if any(row.trainer == SD_SCRIPTS for row in rows):
        tree.ensure()
    table, whole = Table("runs", "survived", "which", ""), True
    for row in rows:
        survived, wrong = prove(row, seed, lambda line: print(line, flush=True))
        whole &= not wrong
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(survived.items()))
        table.add_row(row.name, f"{survived.total()} of {row.kills}", kinds, wrong or "equal to the last bit")
    Console(width=160).print(table)
    print(f"seed {seed}: make kills SEED={seed} draws the same kinds and delays again")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(exit_code_of_app(app, sys.argv[1:]))
