"""make tricks: the proof of each trick of the logbook, as a table.

Trick, the runs that use it (asked of the launchers), what it is held against, and how that ended: for what both
trainers share, and for each trainer by tests in which it ran. The proofs are tests of the suite, the slow ones
among them, run here by name at tiny size.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.base.reporting import exit_code_of
from extensions.launch.stages import SD_SCRIPTS, TRAINERS
from extensions.logbook import registry
from extensions.logbook.registry import Run
from extensions.upstream import submodule
from tests.proofs.trick_table import TRICKS, Proof, Trick

SHARED = "shared"  # the column of what runs no trainer


@dataclass(frozen=True)
class Case:
    """One test that ran. outcome: passed, failed or skipped; why: the reason of a skip."""

    test: str
    outcome: str
    why: str = ""

    @property
    def trainers(self) -> tuple[str, ...]:
        """The trainer that its parameters name; none for a test of what both share."""
        parameters = self.test.partition("[")[2]
        return tuple(name for name in TRAINERS if name in parameters)


@dataclass(frozen=True)
class Cell:
    """How a trick's proofs ended in one column. holds: whether that is as it must be."""

    text: str
    holds: bool


def run(tests: list[str], folder: Path) -> list[Case]:
    """Run tests by node id (a path, or path::function). UserError when pytest cannot."""
    report = folder / "report.xml"
    words = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1", f"--junitxml={report}", *tests]
    code = subprocess.run(words, cwd=ROOT, check=False).returncode
    if code not in (0, 1) or not report.is_file():
        raise UserError(f"pytest ended with {code}; a proof in tests/proofs/trick_table.py may be gone")
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


def columns(case: Case, proof: Proof) -> tuple[str, ...]:
    """Where a proof's case counts: with the trainers that the proof or its own parameters name, else as shared."""
    return proof.trainers or case.trainers or (SHARED,)


def outcome(trick: Trick, column: str, cases: list[Case], cannot: dict[str, str]) -> Cell:
    """ "passed (n tests)", "FAILED: …", "not run" or "-" for no proof; skips by their number and reason.

    cannot: {trainer: why it cannot run here}. A trainer that can, and of which nothing has passed, does not hold.
    """
    mine = list(dict.fromkeys(
        case for proof in trick.proofs for case in cases
        if belongs(case, proof.test) and column in columns(case, proof)
    ))  # fmt: skip
    failed = [case.test for case in mine if case.outcome == "failed"]
    if failed:
        return Cell(f"FAILED: {failed[0].rpartition('::')[2]}", False)
    passed = sum(case.outcome == "passed" for case in mine)
    reasons = Counter(case.why for case in mine if case.outcome == "skipped")
    skips = [f"{count} skipped: {why}" for why, count in reasons.items()]
    if not mine:
        return Cell("-", column not in trick.trainers or column in cannot)
    said = f"passed ({passed} tests)" if passed else "not run"
    return Cell("; ".join([said, *skips]), bool(passed) or column in cannot)


def users(uses: Callable[[Run], bool], runs: dict[str, Run]) -> str:
    """The runs that use a trick, shortened; all where all do."""
    numbers = [name for name, run in runs.items() if uses(run)]
    if len(numbers) == len(runs):
        return f"all {len(runs)}"
    return ", ".join(numbers) if len(numbers) <= 3 else f"{numbers[0]} … {numbers[-1]} ({len(numbers)})"


def table(tricks: list[Trick], cases: list[Case], runs: dict[str, Run], cannot: dict[str, str]) -> tuple[Table, bool]:
    """(the table, whether every cell holds)."""
    results = (SHARED, *TRAINERS)
    made = Table("trick", "runs that use it", "held against", *results, show_lines=True)
    whole = True
    for trick in tricks:
        cells = [outcome(trick, column, cases, cannot) for column in results]
        whole &= all(cell.holds for cell in cells)
        texts = [escape(cell.text) for cell in cells]
        made.add_row(trick.name, users(trick.uses, runs) or "none; the logbook names it", trick.oracle, *texts)
    return made, whole


def unable() -> dict[str, str]:
    """{trainer: why it cannot run here}: sd-scripts where its submodule is not and cannot be fetched."""
    try:
        submodule.ensure()
    except UserError as error:
        return {SD_SCRIPTS: str(error)}
    return {}


def needed(tests: list[str]) -> list[str]:
    """Without those that another one contains: pytest would run them twice."""
    return [test for test in tests if not any(test != other and belongs(Case(test, ""), other) for other in tests)]


def chosen(words: list[str]) -> list[Trick]:
    """All tricks, or those whose name has one of the words. UserError for a word that names none."""
    found = [trick for trick in TRICKS if not words or any(word.lower() in trick.name.lower() for word in words)]
    if not found:
        names = "; ".join(trick.name for trick in TRICKS)
        raise UserError(f"no trick is named {' '.join(words)}; there are: {names}")
    return found


def main(words: list[str]) -> int:
    """Prove and print; 1 when a proof fails, or nothing has proven a trick for a trainer that can run here."""
    tricks = chosen(words)
    tests = sorted({proof.test for trick in tricks for proof in trick.proofs})
    with tempfile.TemporaryDirectory() as folder:
        cases = run(needed(tests), Path(folder))
    made, whole = table(tricks, cases, registry.read_all(), unable())
    Console(width=160).print(made)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
