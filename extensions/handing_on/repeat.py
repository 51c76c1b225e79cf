"""Finds the command that trains a recorded run once more: its launcher's, with what was asked otherwise."""

import shlex
from dataclasses import dataclass

from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.base.paths import LAUNCHERS, STANDIN_MODELS
from extensions.flags.words import Flags
from extensions.launch import asked as request
from extensions.launch import tiny
from extensions.launch.__main__ import prepare
from extensions.launch.going_on import quoted
from extensions.launch.stages import REFERENCE, Asked
from extensions.logbook import registry
from extensions.report.planned import words_of
from extensions.report.records import TINY, Record
from extensions.resume import identity
from extensions.upstream import submodule

GIVEN_UP = ("initial_step", "skip_until_initial_step")  # of a launcher's, where a state is gone on from instead
# What a launch puts there by itself: where it writes, and, of one that goes on, from where.
PLACES = ("output_dir", "logging_dir", "run_folder", "resume_from", "resume_mode")
ELSEWHERE = "-repeated"  # the folder of the new checkpoints: the recorded ones stay where they are


@dataclass(frozen=True)
class Repeat:
    """command: empty where there is none. why_not: what the launcher does not say any more."""

    command: str = ""
    why_not: tuple[str, ...] = ()


def of(record: Record) -> Repeat:
    """Return the command for the whole run: its first launch's, for a resume ends as the unbroken run does."""
    first = next((each.record for each in record.launches if each.first), record.launches[0].record)
    launcher = LAUNCHERS / f"{record.run}.sh"
    if record.run not in {path.stem for path in LAUNCHERS.glob(registry.PATTERN)}:
        return Repeat("", (f"there is no train/{record.run}.sh",))
    if record.profile == TINY and not STANDIN_MODELS.is_dir():
        return Repeat("", ("the stand-ins are not made here",))
    try:
        variables = environment(first)
        here = as_launched(request.read(registry.ask_here(launcher), variables))
        extra, why_not = differing(first, here)
    except (UserError, ValueError, TypeError) as error:
        return Repeat("", (f"its launcher cannot be asked ({error})",))
    if output := first.flags.get("output_dir"):
        extra += Flags.of({"output_dir": [f"{output}{ELSEWHERE}"]}).words()
    words = [f"RUN={record.run}", *(f"{name}={value}" for name, value in variables.items())]
    if (count := machines(first)) > 1:
        words += [f"NNODES={count}", "NODE_RANK=0", "MASTER_ADDR=<of machine 0>"]
    words += ["RESUME=parent"] if "resume_from" in first.flags and first.parent else []
    words += [f"ARGS={shlex.join(extra)}"] if extra else []
    return Repeat(f"make train {' '.join(map(quoted, words))}", tuple(why_not))


def environment(record: Manifest) -> dict[str, str]:
    """Return the variables that the run was launched with, as far as its record tells."""
    count = machines(record)
    found = {"PROFILE": TINY} if record.profile == TINY else {}
    found |= {"TRAINER": REFERENCE} if record.trainer == REFERENCE else {}
    found |= {"GPUS": str(max(1, record.processes // count))}
    if record.sd_scripts_commit and record.sd_scripts_commit != submodule.pin():
        found["SD_SCRIPTS_REF"] = record.sd_scripts_commit
    return found | ({"CPU": "1"} if record.profile != TINY and not record.hardware.get("gpus") else {})


def machines(record: Manifest) -> int:
    """Machines of the run; 1 where the record does not say."""
    count = record.machines.get("count")
    return count if isinstance(count, int) and count > 0 else 1


def as_launched(asked: Asked) -> Asked:
    """Return the stage at which a launch's flags are those of its record."""
    return prepare(tiny.apply(asked) if asked.tiny else asked)


def differing(record: Manifest, here: Asked) -> tuple[list[str], list[str]]:
    """Return (the words that must be added, what cannot be taken out: of flags that make a difference to weights)."""
    then = {name: record.ramdisk.get(name, value) for name, value in record.flags.items() if name not in PLACES}
    now = here.flags.as_dict()
    changed = Flags.of({name: words_of(value) for name, value in then.items() if value != now.get(name)})
    neutral = identity.neutral_flags(record.extensions) | set(PLACES)
    neutral |= set(GIVEN_UP) if "resume_from" in record.flags else set()
    extra = [name for name in now if name not in then and not identity.is_neutral(name, neutral)]
    return changed.words(), [f"train/{here.run}.sh has --{name} now, which the run had not" for name in extra]
