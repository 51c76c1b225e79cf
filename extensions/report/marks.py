"""Marks a run's curves: where a launch goes on, a roll-back goes back, corrupt samples were passed over."""

import json
from dataclasses import dataclass
from pathlib import Path

from extensions.base.errors import NotFinite
from extensions.data import ids
from extensions.report import logs
from extensions.report.records import History, Launch
from extensions.resume.skipped import REQUEST

RESUME, ROLLBACK, CORRUPT, MISSING = KINDS = ("resume", "roll-back", "corrupt samples", "not finite")
LIST = "bad_samples.txt"
NAMED = 5  # ids that a mark names
LARGE = 64 << 20  # bytes of a small file that are read


@dataclass(frozen=True)
class Mark:
    """One event. step: the optimizer step where it is known, else None. kind: one of KINDS."""

    step: int | None
    kind: str
    said: str


def of(history: History) -> list[Mark]:
    """Return all marks of a run, by their steps; those without a step at the end."""
    found: list[Mark] = []
    for number, (launch, _) in enumerate(history.launched):
        if number and launch.first:
            first = min(launch.first.values())
            found.append(Mark(first, RESUME, f"launch {launch.folder.name} goes on at optimizer step {first:,}"))
        found += ended(launch)
        found += corrupt(launch)
    for name, curve in history.curves.items():
        if curve.missing_at is not None:
            said = f"{name}: {curve.missing:,} value(s) that are no finite number, the first at this step"
            found.append(Mark(curve.missing_at, MISSING, said))
    return sorted(found, key=lambda mark: (mark.step is None, mark.step or 0))


def ended(launch: Launch) -> list[Mark]:
    """Return the mark of a roll-back, or of the end by NaN without one."""
    request = small(launch.folder / REQUEST)
    if request is not None:
        try:
            asked = json.loads(request)
            step, samples = asked["optimizer_step"], [str(each) for each in asked["samples"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            return [Mark(None, ROLLBACK, f"{launch.folder.name}: {REQUEST} cannot be read")]
        step = step if type(step) is int else None
        return [Mark(step, ROLLBACK, f"not finite; gone back to the last state, without {named(samples)}")]
    if launch.record.exit_code == NotFinite.code:
        return [Mark(None, MISSING, f"launch {launch.folder.name} ended with exit code {NotFinite.code}")]
    return []


def corrupt(launch: Launch) -> list[Mark]:
    """Return where corrupt samples were passed over: a mark a step, as far as the log tells it, else their list."""
    text = small(launch.folder / LIST)
    if text is None:
        return []
    try:
        listed = [key.decode("utf-8", "replace") for key in ids.keys_of(launch.folder / LIST, text.splitlines(True))]
    except ValueError:
        listed = []
    log = logs.read(launch.folder / "train.log")
    steps: dict[int, list[str]] = {}
    for step, said in log.corrupt:
        steps.setdefault(step, []).append(said)
    if log.corrupt_count != len(log.corrupt) or not steps:
        return [Mark(next(iter(steps), None), CORRUPT, f"{len(listed):,} passed over from here on: {named(listed)}")]
    return [Mark(step, CORRUPT, f"{len(said):,} passed over: {named(said)}") for step, said in steps.items()]


def named(names: list[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def small(path: Path) -> bytes | None:
    """Return the content of a small file, as far as it is one; None where it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read(LARGE)
    except OSError:
        return None
