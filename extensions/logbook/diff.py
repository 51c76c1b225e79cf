"""Compares two runs: what the experiment changed, then what only follows from the run's number."""

from dataclasses import dataclass

from extensions.logbook.registry import Run

ABSENT = "-"


@dataclass(frozen=True)
class Difference:
    """One flag or fact, by name, with its text in the one run and in the other; "-" where it is absent."""

    name: str
    left: str
    right: str


def differences(left: Run, right: Run) -> tuple[list[Difference], list[Difference]]:
    """Return (what was changed, what only carries the run's own number): flags in the launchers' order, facts."""
    ours, theirs = settings(left), settings(right)
    changed, numbered = [], []
    for name in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(name, ABSENT), theirs.get(name, ABSENT)
        if one == other:
            continue
        same_rule = one.replace(left.run, "$RUN") == other.replace(right.run, "$RUN")
        (numbered if same_rule else changed).append(Difference(name, one, other))
    return changed, numbered


def settings(run: Run) -> dict[str, str]:
    """Return every flag and fact of a run as text; a switch reads "on"."""
    return {name: text(value) for name, value in run.flags.items()} | {
        "GPUS": str(run.gpus),
        "RAMDISK": str(int(run.ramdisk)),
        "NUMA": ABSENT if run.numa is None else str(run.numa),
        "PARENT": run.parent or ABSENT,
        "trainer": run.script,
    }


def text(value: str | bool | list[str]) -> str:
    """Return a flag's value as one text."""
    if value is True:
        return "on"
    return value if isinstance(value, str) else " ".join(value)
