"""Holds a run's record against what is here: `python -m extensions.handing_on.verify RUN` (make verify).

A line for each thing that was recorded: same, differs, gone, or not recorded; then whether the run can be repeated
here, and by which command. Exit code 0 where all that was recorded matches, 1 where something does not.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from extensions.base import paths
from extensions.base.errors import UserError, printable
from extensions.base.reporting import exit_code_of
from extensions.handing_on import evidence, kept, repeat
from extensions.handing_on.evidence import NOT_RECORDED, Line
from extensions.logbook import registry
from extensions.report import records
from extensions.report.records import Record

WIDTH = 48  # columns of what is compared: a checkpoint's name with its step and an average's length


def main(arguments: list[str]) -> int:
    """Say what still matches; 1 where something does not."""
    parser = argparse.ArgumentParser(
        prog="python -m extensions.handing_on.verify", description="Record against files."
    )
    parser.add_argument("run", help="its number, or the path of a run folder")
    parser.add_argument("--model", default="", help="one checkpoint instead of all, wherever it is now")
    asked = parser.parse_args(arguments)
    if not asked.run:
        raise UserError("give RUN=<a number, or the path of a run folder>; make runs lists the numbers")
    record = find(asked.run)
    model = Path(os.path.expanduser(asked.model)) if asked.model else None
    print(f"run {printable(record.key)}, {paths.shown(record.last.folder)}")
    found = []
    for line in lines(record, model):
        found.append(line)
        print(shown(line), flush=True)
    for said in conclusion(record, found):
        print(printable(said))
    return 0 if all(line.sound for line in found) else 1


def find(name: str) -> Record:
    """Return a recorded run, at full size where there is one. UserError where there is no record that can be read."""
    try:
        record = min(records.find(name, paths.LOGS), key=lambda each: bool(each.profile))
    except UserError:
        if name.removeprefix("model_out_") in {path.stem for path in paths.LAUNCHERS.glob(registry.PATTERN)}:
            raise UserError(
                f"run {name} has a launcher and no record in {paths.shown(paths.LOGS)}: there is nothing to hold "
                "against; give the path of its run folder, or let LOGS= name another disk"
            ) from None
        raise
    if record.last.damage:
        raise UserError(record.last.damage)
    return record


def lines(record: Record, model: Path | None) -> Iterator[Line]:
    """Yield what is held against each other, what is quick first."""
    manifest = record.manifest
    if model:
        yield from kept.of_model(record, model)
    yield from evidence.of_code(manifest, record.last.folder)
    yield from evidence.of_packages(manifest)
    yield from evidence.of_hardware(manifest)
    yield from evidence.of_inputs(manifest)
    if not model:
        yield from kept.of_folder(record)


def shown(line: Line) -> str:
    """Return a line for a terminal."""
    return printable(f"{line.what:<{WIDTH}} {line.verdict}" + (f": {line.said}" if line.said else ""))


def conclusion(record: Record, found: list[Line]) -> Iterator[str]:
    """Yield what follows: whether the run can be repeated here, and how."""
    again = repeat.of(record)
    wrong = [line.what for line in found if not line.sound and line.repeats]
    unknown = [line.what for line in found if line.verdict == NOT_RECORDED and line.repeats and not line.said]
    wrong += again.why_not
    wrong += [f"launch {each} was made with other code or data" for each in other_launches(record)]
    if not again.command or wrong:
        yield f"it cannot be repeated here as it was: {', '.join(wrong)}"
        if again.command:
            yield f"what comes closest: {again.command}"
        return
    known = f"as far as was recorded (not {', '.join(unknown)})" if unknown else "all that it needs is as recorded"
    yield f"it can be repeated here, {known}: {again.command}"


def other_launches(record: Record) -> list[str]:
    """Return the launches that were made with other code or data than the last one."""
    names = ("trainer", "sd_scripts_commit", "patch_series_sha256", "project_commit", "packages", "data_fingerprint")

    def made(launch) -> list:
        return [getattr(launch.record, name) for name in names]

    return [each.folder.name for each in record.launches if each.first and made(each) != made(record.last)]


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
