"""Shows the logbook's words, recorded flags, recorded logs and our launchers beside each other, topic by topic.

`python -m extensions.handing_on.audit [RUN]` (make audit): a table a run, and the reason for each choice where its
accounts disagree. The reasons are in reasons.json; a disagreement without one, or one without a disagreement, is 1.
"""

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.base.reporting import exit_code_of
from extensions.base.saving import write_text, writing
from extensions.handing_on import accounts, markdown
from extensions.logbook import registry, tables
from extensions.logbook.registry import Run

REASONS = Path(__file__).with_name("reasons.json")
ACCOUNTS = ("words", "flags", "log", "launcher")
COLUMNS = ["topic", "logbook", "recorded flags", "recorded log", "launcher", "reason for the launcher's"]
ALL = "*"  # of a reason: all runs whose accounts disagree in its topic and that no other reason of it names
NOTHING = "-"
WEIGHED = ("threads", "RAM disk")  # of which, as of single flags, the launcher's silence is an answer


@dataclass(frozen=True)
class Topic:
    """What the accounts say of one topic; NOTHING where one is silent."""

    run: str
    name: str
    said: tuple[str, ...]

    @property
    def disagrees(self) -> bool:
        """Whether two accounts say different things; of a flag that was recorded, silence of the launcher is one."""
        dropped = self.said[1] != NOTHING and self.said[3] == NOTHING
        answers = self.name.startswith("--") or self.name in WEIGHED
        return len(set(self.said) - {NOTHING}) > 1 or (dropped and answers)


def main(arguments: list[str]) -> int:
    """Show one run, or all; 1 where a reason is missing or too many."""
    parser = argparse.ArgumentParser(
        prog="python -m extensions.handing_on.audit", description="Four accounts of runs."
    )
    parser.add_argument("run", nargs="?", default="", help="its number; all else")
    parser.add_argument("--out", default="", help="a new file, .md or .csv")
    asked = parser.parse_args(arguments)
    out = Path(os.path.expanduser(asked.out)) if asked.out else None
    if out and (out.suffix not in {".md", ".csv"} or os.path.lexists(out)):
        raise UserError(
            f"OUT={out} is there already, or ends neither in .md nor in .csv; give a new file of one of both"
        )
    runs = chosen(asked.run)
    if out:
        with writing(out, "give another OUT="):
            write_text(out, as_csv(runs) if out.suffix == ".csv" else as_markdown(runs))
        print(out)
    else:
        show(runs)
    wrong = [line for line in unexplained() if not asked.run or line.startswith(asked.run)]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def chosen(name: str) -> list[Run]:
    """Return the runs of the logbook, or one. UserError for one that is not in it."""
    runs = logbook()
    if not name:
        return list(runs.values())
    number = registry.known(name)
    if number not in runs:
        raise UserError(f"run {number} is none of the recorded logbook; its launcher is all there is: make show")
    return [runs[number]]


@cache
def logbook() -> dict[str, Run]:
    """Return the launchers' runs that the logbook records."""
    found = registry.read_all(LAUNCHERS)
    return {number: run for number, run in found.items() if number in accounts.recorded()}


def topics(run: Run) -> list[Topic]:
    """Return all topics of a run, in the accounts' order."""
    said = accounts.of(run)
    names = dict.fromkeys(name for account in ACCOUNTS for name in said[account])
    return [Topic(run.run, name, tuple(said[account].get(name, NOTHING) for account in ACCOUNTS)) for name in names]


def of_interest(run: Run) -> list[Topic]:
    """Return the topics that a table shows: not the flags in which record and launcher are one."""
    return [topic for topic in topics(run) if topic.disagrees or not topic.name.startswith("--")]


def disagreements() -> list[Topic]:
    """Return every topic of every run in which its accounts disagree."""
    return [topic for run in logbook().values() for topic in topics(run) if topic.disagrees]


@cache
def reasons() -> dict[tuple[str, str], str]:
    """Return {(run or ALL, topic): reason}. UserError where two are given for one."""
    found: dict[tuple[str, str], str] = {}
    for each in json.loads(REASONS.read_text(encoding="utf-8")):
        for run in each["runs"]:
            for topic in each["topics"]:
                if (run, topic) in found:
                    raise UserError(f"reasons.json has two reasons for {topic} of {run}; keep one")
                found[run, topic] = each["reason"]
    return found


def reason(topic: Topic) -> str:
    """Return the reason for the launcher's choice; nothing where there is none."""
    if not topic.disagrees:
        return ""
    return reasons().get((topic.run, topic.name)) or reasons().get((ALL, topic.name), "")


def unexplained() -> Iterator[str]:
    """Yield what is wrong with the reasons: a line for each disagreement without one, and the other way round."""
    found = disagreements()
    for topic in found:
        if not reason(topic):
            yield f"{topic.run}: {topic.name}: no reason in reasons.json for {' / '.join(topic.said)}"
    there = {(topic.run, topic.name) for topic in found}
    there |= {(ALL, name) for run, name in there if (run, name) not in reasons()}
    for run, name in reasons():
        if (run, name) not in there:
            yield f"{run}: {name}: reasons.json has a reason, and the accounts agree"


def rows(run: Run) -> list[list[str]]:
    """Return a run's table."""
    return [[topic.name, *topic.said, reason(topic)] for topic in of_interest(run)]


def show(runs: list[Run]) -> None:
    """Print the tables, and the reasons below each: no terminal is wide enough for them."""
    for run in runs:
        print(f"\n{run.run}: {run.words}")
        found = rows(run)
        marked = [["≠" if row[-1] or is_wrong(row) else "", *row[:-1]] for row in found]
        tables.show(["", *COLUMNS[:-1]], marked)
        for row in found:
            if row[-1]:
                print(f"≠ {row[0]}: {row[-1]}")


def is_wrong(row: list[str]) -> bool:
    """Tell whether a row's accounts disagree."""
    return Topic("", row[0], tuple(row[1:-1])).disagrees


def as_csv(runs: list[Run]) -> str:
    """Return all tables as one, a run and topic a line."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", *COLUMNS])
    writer.writerows([run.run, *row] for run in runs for row in rows(run))
    return file.getvalue()


def as_markdown(runs: list[Run]) -> str:
    """Return a page of all tables."""
    parts = []
    for run in runs:
        lines = [f"## {run.run}", "", markdown.escaped(run.words), "", f"| {markdown.cells(COLUMNS)} |"]
        lines += [f"|{'---|' * len(COLUMNS)}", *(f"| {markdown.cells(row)} |" for row in rows(run)), ""]
        parts.append("\n".join(lines))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
