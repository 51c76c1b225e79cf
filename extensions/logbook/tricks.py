"""make tricks: the proof of each trick of the logbook, as a table.

Trick, the runs that use it (asked of the launchers), what it is held against, and how that ended for each
trainer. The proofs are tests of the suite, the slow ones among them, run here by name at tiny size.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from extensions.errors import UserError
from extensions.launch.request import TRAINERS
from extensions.logbook import registry
from extensions.logbook.registry import Run
from extensions.logbook.trick_table import TRICKS, Trick
from extensions.paths import ROOT
from extensions.reporting import exit_code_of


@dataclass(frozen=True)
class Case:
    """One test that ran. outcome: passed, failed or skipped; why: the reason of a skip."""

    test: str
    outcome: str
    why: str = ""

    @property
    def trainers(self) -> tuple[str, ...]:
        """The trainer that its parameters name; a test that names none is about what both share."""
        parameters = self.test.partition("[")[2]
        return tuple(name for name in TRAINERS if name in parameters) or TRAINERS


def run(tests: list[str], folder: Path) -> list[Case]:
    """Run tests by node id (a path, or path::function). UserError when pytest cannot."""
    report = folder / "report.xml"
    words = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1", f"--junitxml={report}", *tests]
    code = subprocess.run(words, cwd=ROOT, check=False).returncode
    if code not in (0, 1) or not report.is_file():
        raise UserError(f"pytest ended with {code}; a proof in extensions/logbook/trick_table.py may be gone")
    return [case_of(element) for element in xml.parse(report).iter("testcase")]


def case_of(element: xml.Element) -> Case:
    """A test case of pytest's report."""
    test = f"{element.get('file')}::{element.get('name')}"
    skipped = element.find("skipped")
    if skipped is not None:
        return Case(test, "skipped", skipped.get("message", ""))
    failed = element.find("failure") is not None or element.find("error") is not None
    return Case(test, "failed" if failed else "passed")


def belongs(case: Case, proof: str) -> bool:
    """Whether a case is one of the proof's: the same test, one of its parameters, or a test of its file."""
    return case.test == proof or case.test.startswith((f"{proof}[", f"{proof}::"))


def outcome(trick: Trick, trainer: str, cases: list[Case]) -> str:
    """ "passed (n tests)", "FAILED: …", "not run: …" or "-" where a proof says nothing about that trainer."""
    mine = [
        case
        for proof in trick.proofs
        if proof.trainer in (None, trainer)
        for case in cases
        if belongs(case, proof.test) and trainer in case.trainers
    ]
    failed = [case.test for case in mine if case.outcome == "failed"]
    passed = [case for case in mine if case.outcome == "passed"]
    if failed:
        return f"FAILED: {failed[0].rpartition('::')[2]}"
    if passed:
        return f"passed ({len(passed)} tests)"
    return f"not run: {mine[0].why}" if mine else "-"


def users(uses: Callable[[Run], bool], runs: dict[str, Run]) -> str:
    """The runs that use a trick, shortened; all where all do."""
    numbers = [name for name, run in runs.items() if uses(run)]
    if len(numbers) == len(runs):
        return f"all {len(runs)}"
    return ", ".join(numbers) if len(numbers) <= 3 else f"{numbers[0]} … {numbers[-1]} ({len(numbers)})"


def table(tricks: list[Trick], cases: list[Case], runs: dict[str, Run]) -> tuple[Table, bool]:
    """(the table, whether nothing failed)."""
    made = Table("trick", "runs that use it", "held against", *TRAINERS, show_lines=True)
    whole = True
    for trick in tricks:
        results = [outcome(trick, trainer, cases) for trainer in TRAINERS]
        whole &= not any(result.startswith("FAILED") for result in results)
        made.add_row(trick.name, users(trick.uses, runs) or "none; the logbook names it", trick.oracle, *results)
    return made, whole


def chosen(words: list[str]) -> list[Trick]:
    """All tricks, or those whose name has one of the words. UserError for a word that names none."""
    found = [trick for trick in TRICKS if not words or any(word.lower() in trick.name.lower() for word in words)]
    if not found:
        names = "; ".join(trick.name for trick in TRICKS)
        raise UserError(f"no trick is named {' '.join(words)}; there are: {names}")
    return found


def main(words: list[str]) -> int:
    """Prove and print; 1 when a proof fails."""
    tricks = chosen(words)
    tests = sorted({proof.test for trick in tricks for proof in trick.proofs})
    with tempfile.TemporaryDirectory() as folder:
        cases = run(tests, Path(folder))
    made, whole = table(tricks, cases, registry.read_all())
    Console(width=160).print(made)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
