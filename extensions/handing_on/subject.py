"""Gathers what is known of a run that is handed on: from its record, else from its launcher and the recorded logs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from extensions.base import paths
from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.flags.settings import Settings
from extensions.flags.words import Flags
from extensions.logbook import registry
from extensions.logbook.header import Header
from extensions.logbook.header import read as read_header
from extensions.logbook.registry import Run
from extensions.plan import recorded
from extensions.report import overview, planned, records
from extensions.report.records import History, Record

MOST_ANCESTORS = 1000


@dataclass(frozen=True)
class Subject:
    """A run. record: None where only its launcher is known. run, settings: what its flags make it, None where they
    are of another version; why_not: why. header: the launcher's, empty without one. flags: as texts, by name.
    """

    name: str
    record: Record | None = None
    history: History = field(default_factory=History)
    run: Run | None = None
    settings: Settings | None = None
    why_not: str = ""
    header: Header = field(default_factory=Header)
    flags: Mapping[str, str] = field(default_factory=dict)
    parent: str = ""

    @property
    def manifest(self) -> Manifest:
        return self.record.manifest if self.record else Manifest()

    @property
    def tiny(self) -> bool:
        return bool(self.record and self.record.profile)

    @property
    def base(self) -> str:
        """The base model's name: its file's, or the logbook's alias."""
        path = self.flags.get("pretrained_model_name_or_path", "")
        return self.run.base if self.run and not self.record else Path(path).name

    @property
    def steps(self) -> int | None:
        """The last optimizer step: measured, else of the recorded log."""
        if self.record:
            return self.history.step or None
        return max((log.steps for log in logs_of(self.name)), default=None)

    @property
    def hours(self) -> float | None:
        """Of all launches that have ended, or of the recorded logs; None where none is known."""
        if self.record:
            spans = [span for each in self.record.launches if (span := hours_of(each.record)) is not None]
        else:
            spans = [log.hours for log in logs_of(self.name)]
        return sum(spans) if spans else None


def logs_of(name: str) -> list[recorded.Log]:
    """Return the recorded logs of a run of the logbook."""
    return recorded.read().logs.get(name, [])


def hours_of(record: Manifest) -> float | None:
    """Hours of one launch; None where its record does not say when it ended."""
    try:
        span = datetime.fromisoformat(str(record.ended)) - datetime.fromisoformat(str(record.started))
    except (ValueError, TypeError):
        return None
    return max(0.0, span.total_seconds() / 3600)


def find(name: str) -> Subject:
    """Return a run by its number or the path of its run folder. UserError where nothing is known of it."""
    if not name:
        raise UserError("give RUN=<a number, or the path of a run folder>; make runs lists the numbers")
    runs = overview.launchers()[0]
    number = name.removeprefix("model_out_")
    try:
        # Of a run at full size and its tiny trial, the first is meant.
        record = min(records.find(name, paths.LOGS), key=lambda found: bool(found.profile))
    except UserError:
        if number not in runs:
            raise
        return of_launcher(runs[number])
    return of_record(record, runs)


def of_launcher(run: Run) -> Subject:
    """Return a run that has no record here: what its launcher says."""
    words = {name: text(value) if isinstance(value, (str, list)) else "on" for name, value in run.flags.items()}
    flags = Flags.of({name: planned.words_of(value) for name, value in run.flags.items()})
    from extensions.flags import settings

    return Subject(
        run.run, run=run, settings=settings.of_words(flags), header=header_of(run.run), flags=words, parent=run.parent
    )


def of_record(record: Record, runs: Mapping[str, Run]) -> Subject:
    """Return a run that is recorded."""
    run = made = None
    why_not = ""
    try:
        plan = planned.planned_of(record.manifest)
        run, made = plan.run, plan.asked.settings
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as error:  # flags of other versions
        why_not = str(error)
    return Subject(
        record.run, record, records.history(record), run, made, why_not, header_of(record.run),
        planned.flags_of(record.manifest), overview.parent_of(record, runs),
    )  # fmt: skip


def header_of(name: str) -> Header:
    """Return the header of a run's launcher; an empty one where there is none."""
    known = {path.stem: path for path in paths.LAUNCHERS.glob(registry.PATTERN)}
    return read_header(known[name]) if name in known else Header()


def text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)


def ancestors(subject: Subject) -> list[Subject]:
    """Return the runs that a run goes on from, the first of all first; recorded in its profile, or launched.

    One that is not known at all has its name alone. A circle, which no run can be in, ends where it closes.
    """
    runs = overview.launchers()[0]
    found: list[Subject] = []
    seen = {subject.name}
    now = subject
    while now.parent and now.parent not in seen and len(found) < MOST_ANCESTORS:
        seen.add(now.parent)
        now = parent_of(now, runs)
        found.append(now)
    return found[::-1]


def parent_of(subject: Subject, runs: Mapping[str, Run]) -> Subject:
    """Return the run that another one names as its parent."""
    name, profile = subject.parent, subject.record.profile if subject.record else ""
    for logs in dict.fromkeys([*folders(subject), paths.LOGS]):
        try:
            is_name = paths.is_file_name(name)
        except ValueError:
            is_name = False
        same = [each for each in records.records_in(logs / name) if each.profile == profile] if is_name else []
        if same:
            return of_record(same[0], runs)
    return of_launcher(runs[name]) if name in runs else Subject(name)


def folders(subject: Subject) -> list[Path]:
    """Return the folder of run folders that a record lies in: a run given by its path has its ancestors beside it."""
    if not subject.record:
        return []
    return [Path(os.path.abspath(each.folder)).parent.parent for each in subject.record.launches[:1]]
