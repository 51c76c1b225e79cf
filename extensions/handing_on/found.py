"""Finds what a run has left: its record, the folder of its checkpoints, the last of them, the averages beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from extensions.base import paths
from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.base.paths import LAUNCHERS
from extensions.launch import asked
from extensions.logbook import header as launcher
from extensions.logbook import registry
from extensions.model import folder as left
from extensions.model.checkpoint import Header, read_header
from extensions.model.folder import AVERAGE, RUN, STARTED, checkpoints
from extensions.report import records

BETWEEN = ".ema-"  # a checkpoint's name and its average's
PREFERRED = "0.10"  # of several averages beside a checkpoint, for EMA=1: the longer one that is always tracked


@dataclass(frozen=True)
class Found:
    """A checkpoint and what is known of its run. words: its line of the logbook. record: None where it is lost."""

    header: Header
    run: str = ""
    words: str = ""
    record: Manifest | None = None

    @property
    def path(self) -> Path:
        return self.header.path

    @property
    def flags(self) -> dict:
        """The flags that are on record; none where there is no record."""
        return self.record.flags if self.record else {}

    @property
    def steps(self) -> int | None:
        """The optimizer step of the checkpoint; None where it does not say."""
        return left.steps(self.header)

    @property
    def average(self) -> str:
        """The name of the average that it is, or ""."""
        return self.header.metadata.get(AVERAGE, "")


def find(run: str, checkpoint: str) -> Found:
    """Return the last checkpoint of a run, or the given file. UserError where there is none that can be read."""
    if not run and not checkpoint:
        raise UserError("give RUN=<run or run folder>, or CHECKPOINT=<file.safetensors>")
    known = recorded(run) if run else []
    header = read_header(os.path.expanduser(checkpoint)) if checkpoint else last(outputs(run, known), run)
    asked_for = (known[0].run if known else "") or numbered(run)
    said = header.metadata.get(RUN, "")  # whatever the file says: it becomes part of names of files
    number = said if paths.is_file_name(said) else asked_for
    if checkpoint and run and number != asked_for:
        raise UserError(f"{header.path} is of run {number}, not of {asked_for}; give one of the two")
    if not known and paths.is_file_name(number):
        known = launched(number)
    return Found(header, number, words_of(number), record_of(header, known))


def recorded(run: str) -> list[Manifest]:
    """Return the records of a run's launches, the newest first; none for a folder of checkpoints."""
    path = Path(os.path.expanduser(run))
    if "/" in run and path.is_dir() and not records.is_run_folder(path) and checkpoints(path):
        return []
    try:
        return newest_first(records.find(run, paths.LOGS))
    except UserError:
        if "/" in run or run in {".", ".."}:
            raise
        number = registry.known(run)  # UserError for what no launcher has, either
        return launched(number)


def launched(number: str) -> list[Manifest]:
    """Return the records of a run's launches by its number, the newest first; none where there are none."""
    return newest_first(records.records_in(paths.LOGS / number))


def newest_first(found: list[records.Record]) -> list[Manifest]:
    """Return the records of all launches, by their start."""
    launches = (launch.record for record in found for launch in record.launches)
    return sorted(launches, key=lambda record: record.started, reverse=True)


def outputs(run: str, known: list[Manifest]) -> list[Path]:
    """Return the folders where a run's checkpoints may be: where its launcher writes, and where the record says.

    By its number in that order, by the path of a run folder in the other.
    """
    path = Path(os.path.expanduser(run))
    if "/" in run and path.is_dir() and not records.is_run_folder(path) and not known:
        return [path]
    said = [record.flags.get("output_dir") for record in known]
    recorded = [paths.ROOT / each for each in said if isinstance(each, str) and each]
    number = known[0].run if known else numbered(run)
    here = [each for each in [launchers_output(number)] if each is not None]
    return list(dict.fromkeys([*recorded, *here] if "/" in run else [*here, *recorded]))


def folders_of(number: str) -> list[Path]:
    """Return the folders where a run's checkpoints may be, by its number. UserError for a run that nobody knows."""
    return outputs(number, recorded(number))


def launchers_output(number: str) -> Path | None:
    """Return where a run's launcher writes on this machine; None without a launcher."""
    path = LAUNCHERS / f"{number}.sh"
    if not number or not paths.is_file_name(number) or not path.is_file():
        return None
    return asked.read(registry.ask_here(path), {"ARGS": os.environ.get("ARGS", "")}).output


def last(folders: list[Path], run: str) -> Header:
    """Return the header of the newest checkpoint of the first folder that has one. UserError where none has."""
    if found := left.last(folders):
        return found
    where = " and ".join(paths.shown(folder) for folder in folders) or "any folder that is known"
    raise UserError(f"run {run} has left no checkpoint in {where}; give CHECKPOINT=, or let OUTPUT= name its disk")


def record_of(header: Header, known: list[Manifest]) -> Manifest | None:
    """Return the record of the launch that wrote a checkpoint; the newest of its run where it does not say which."""
    started = header.metadata.get(STARTED)
    return next((record for record in known if record.started == started), known[0] if known else None)


def numbered(run: str) -> str:
    """Return a run's number: `model_out_<number>`, or a folder of that name, says it, too."""
    return Path(run).name.removeprefix("model_out_")


def words_of(number: str) -> str:
    """Return a run's line of the logbook, as its launcher has it; "" without one, or where it was never filled in."""
    path = LAUNCHERS / f"{number}.sh"
    if not number or not paths.is_file_name(number) or not path.is_file():
        return ""
    words = launcher.read(path).words
    return "" if words.startswith("<") else words


def average_of(found: Found, ema: str) -> str:
    """Return the name of the averaged weights that are asked for. UserError, naming those there are, for none.

    ema: "1" for those that stand beside a checkpoint, 0.10 of several; else their name, or a length.
    """
    beside = averages(found)
    if ema in beside:
        return ema
    if ema != "1":
        from extensions.averages import posthoc, profiles

        return profiles.Power(posthoc.require_length(ema, "EMA")).name
    if len(beside) == 1 or PREFERRED in beside:
        return PREFERRED if PREFERRED in beside else next(iter(beside))
    there = f"there is {', '.join(sorted(beside))}" if beside else "there are none"
    raise UserError(
        f"EMA=1: no averaged weights {PREFERRED} stand beside {found.path}, {there}; train with the plugin, or "
        "give a length, e.g. EMA=0.07"
    )


def averaged(found: Found, name: str, given: bool) -> Found:
    """Return averaged weights instead of a checkpoint; made where they are not there. UserError if they cannot be.

    given: the checkpoint is a file that was named, not the last of a run.
    """
    beside = averages(found)
    if name in beside:
        return replace(found, header=beside[name])
    from extensions.averages import posthoc

    step = found.steps if given else None
    path = posthoc.path_of(found.path.parent, float(name), step)
    if not path.exists():
        posthoc.make(found.path.parent, float(name), step)
        print(f"saved {path}", flush=True)
    return replace(found, header=read_header(path))


def averages(found: Found) -> dict[str, Header]:
    """Return the averaged weights that a run has saved beside a checkpoint, by their names."""
    stem = found.path.name.removesuffix(".safetensors")
    beside = (path for path in checkpoints(found.path.parent) if path.name.startswith(stem + BETWEEN))
    headers = map(read_header, beside)
    return {header.metadata[AVERAGE]: header for header in headers if AVERAGE in header.metadata}
