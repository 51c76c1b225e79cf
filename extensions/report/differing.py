"""Says in which flags two runs differ: as they were recorded, else as their launchers have them."""

from collections.abc import Mapping

from extensions.logbook import diff
from extensions.logbook.diff import ABSENT, Difference
from extensions.logbook.registry import Run
from extensions.report import planned
from extensions.report.records import Record


def between(
    left: Record | None, right: Record | None, names: tuple[str, str], runs: Mapping[str, Run]
) -> list[Difference]:
    """Return what differs between two runs; nothing where one of them is not known at all.

    names: their numbers. A value that only carries the run's own number is no difference.
    """
    ours, theirs = (each.manifest if each else None for each in (left, right))
    if ours and theirs and ours.flags and theirs.flags:
        one, other = ({**planned.flags_of(each), **facts(each)} for each in (ours, theirs))
        pairs = ((name, one.get(name, ABSENT), other.get(name, ABSENT)) for name in dict.fromkeys([*one, *other]))
        return [Difference(*pair) for pair in pairs if not same(pair[1], pair[2], names)]
    if names[0] in runs and names[1] in runs:
        return diff.differences(runs[names[0]], runs[names[1]])[0]
    return []


def facts(record) -> dict[str, str]:
    """Return what is no flag and makes a difference."""
    packages = record.packages if isinstance(record.packages, dict) else {}
    said = {name: str(getattr(record, name)) for name in ("processes", "profile", "trainer")}
    files = {"base model": sha(record.base_model), "data": sha(record.metadata)}
    return said | files | {"torch": str(packages.get("torch", ABSENT))}


def sha(fingerprint) -> str:
    """Return the beginning of a file's digest."""
    found = fingerprint.get("sha256") if isinstance(fingerprint, dict) else None
    return str(found)[:12] if found else ABSENT


def same(one: str, other: str, names: tuple[str, str]) -> bool:
    """Tell whether two values are one, or only carry their run's number."""
    return one == other or one.replace(names[0], "$RUN") == other.replace(names[1], "$RUN")
