"""Tries everything that we add to upstream on several of its commits: a row each, for patches/README.md.

Patches: how the series applies. Seams: how many of the wrapped functions are there, and that a run calls them. Run: a
tiny one of 25022601, its losses against the pin's. Needs: what that commit's own requirements.txt asks for.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from extensions.base.paths import LAUNCHERS, ROOT, RUNTIME
from extensions.upstream import git, reading, submodule, tree

NEWEST = "origin/HEAD"  # of what was fetched; `git -C sd-scripts fetch` brings more
ERAS = ("v0.10.0", "v0.9.1", "3d79239", NEWEST)  # beside the pin
RUN, STEPS = "25022601", 3
SECONDS = 1800  # of a tiny run
PACKAGES = ("torch", "accelerate", "transformers", "diffusers")
SILENT = "did not call"  # what a run says of a silent seam
SEAMS = """
import sys
sys.path.insert(0, sys.argv[1])
from extensions.base.errors import UserError
from extensions.upstream import seams
for seam in seams.SEAMS:
    try:
        seam.check(seam.target()[2])
    except UserError as error:
        print(f"lost: {error}")
print(f"all: {len(seams.SEAMS)}")
"""


@dataclass(frozen=True)
class Row:
    """What was found of one commit. losses: of each optimizer step; empty where no run was made, or it failed."""

    name: str
    commit: str
    date: str
    patches: str
    seams: str
    run: str
    needs: str
    losses: tuple[float, ...] = ()

    def line(self) -> str:
        """Return the row of a table in Markdown."""
        cells = (self.name, f"`{self.commit[:8]}`, {self.date}", self.patches, self.seams, self.run, self.needs)
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| upstream | commit | patches | seams | a tiny run of 25022601 | its requirements.txt |\n"
    "|---|---|---|---|---|---|"
)


def table(attempt) -> tuple[str, bool]:
    """Return (the table, whether all of it is well but for what is older than the seams). attempt: of patches.py."""
    source, pin = submodule.ensure(), submodule.pin()
    fetch_newest(source)
    rows: list[Row] = []
    for name in ("the pin", *ERAS):
        commit = pin if name == "the pin" else reading.commit_of(source, name)
        if commit is None:
            rows.append(Row(name, "", "", "not in this clone", "", "", ""))
        elif commit in (row.commit for row in rows):
            known = next(row for row in rows if row.commit == commit)
            rows.append(Row(name, commit, known.date, f"is {known.name}", "", "", ""))
        else:
            print(f"{name}: {commit[:12]} …", file=sys.stderr, flush=True)
            rows.append(row_of(name, source, commit, attempt, rows[0].losses if rows else ()))
    day = datetime.now(timezone.utc).date()
    return "\n".join([f"Tried on {day}:", "", HEAD, *(row.line() for row in rows)]), sound(rows[0])


def fetch_newest(source: Path) -> None:
    """Fetch what upstream has by now; where that cannot be had, say so: the newest is what was fetched before."""
    try:
        submodule.require_answer(source.parent)
        if (done := git.fetch(source, "fetch", "--quiet", "--tags", "origin")).returncode == 0:
            return
        why = git.reason(done)
    except git.NoAnswerError as error:
        why = str(error)
    print(f"upstream is not asked for its newest commit ({why})", file=sys.stderr, flush=True)


def sound(row: Row) -> bool:
    """Tell whether a commit may be run on: its series applies, its seams are there and called, its run ends well."""
    return bool(row.losses) and SILENT not in row.seams


def row_of(name: str, source: Path, commit: str, attempt, expected: tuple[float, ...]) -> Row:
    """Try one commit. expected: the pin's losses, to hold its own against."""
    return row_with((name, commit), source, patches_of(source, commit, attempt), expected)


def row_with(what: tuple[str, str], source: Path, how: str, expected: tuple[float, ...]) -> Row:
    """Try a commit of which is known how the patches apply. what: (its name, commit)."""
    commit, needs = what[1], needs_of(source, what[1])
    facts = (*what, git.output(source, "log", "-1", "--format=%cd", "--date=short", commit))
    if "conflict" in how:
        return Row(*facts, how, "", "none: the series does not apply", needs)
    lost, count = seams_of(tree.ensure(None if commit == submodule.pin() else commit))
    if lost:
        there = f"{count - len(lost)} of {count}; " if count else ""
        return Row(*facts, how, f"{there}{lost[0]}", "refused, for the seams", needs)
    losses, said = run_of(commit)
    silent = [line for line in said.splitlines() if SILENT in line]
    fired = f"{SILENT} {len(silent)} of {count}" if silent else f"{count} of {count}, none silent"
    return Row(*facts, how, fired, verdict(losses, expected, said), needs, losses)


def patches_of(source: Path, commit: str, attempt) -> str:
    """Return how the patches apply, one after the other."""
    scratch = RUNTIME / "port-patches"
    try:
        tree.fresh_worktree(source, scratch, commit)
        found = [attempt(scratch, patch, commit) for patch in tree.series()]
    finally:
        tree.remove_worktree(source, scratch)
    kinds = sorted(set(found))
    return kinds[0] if len(kinds) == 1 else ", ".join(f"{found.count(kind)} {kind}" for kind in kinds)


def seams_of(patched: Path) -> tuple[list[str], int]:
    """Return (what of the wrapped functions is not there, a line each; how many there are, 0: not known)."""
    code, said, errors = ended([sys.executable, "-c", SEAMS, str(patched)], {})
    lines = said.splitlines()
    if code or not lines:
        return [f"its library is not imported here: {(errors.strip().splitlines() or ['no word'])[-1]}"], 0
    lost = [line.removeprefix("lost: ").partition("; see")[0] for line in lines if line.startswith("lost: ")]
    return lost, int(lines[-1].partition(": ")[2])


def run_of(commit: str, trainer: str = "sd-scripts", python: str = sys.executable) -> tuple[tuple[float, ...], str]:
    """Return (the losses of a tiny run, what it said); no losses where it failed. python: with whose packages."""
    with tempfile.TemporaryDirectory(prefix="port-patches-") as folder:
        variables = {"PROFILE": "tiny", "TINY_STEPS": str(STEPS), "OUTPUT": folder, "LOGS": f"{folder}/logs"}
        variables |= {"SD_SCRIPTS_REF": "" if commit == submodule.pin() else commit, "PYTHON": python}
        variables |= {"TRAINER": trainer, "RESUME": "", "ARGS": "", "GPUS": ""}  # whatever the caller trains with
        code, said, errors = ended(["bash", str(LAUNCHERS / f"{RUN}.sh")], variables)
        found = sorted(Path(folder).glob("logs/*/*/metrics.jsonl"))
        lines = found[-1].read_text(encoding="utf-8").splitlines() if found and code == 0 else []
    return tuple(json.loads(line)["loss"] for line in lines), said + errors


def ended(words: list[str], variables: dict[str, str]) -> tuple[int, str, str]:
    """Return (exit code, stdout, stderr) of a program that has an end, whatever it does."""
    environment = os.environ | variables
    try:
        done = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return 1, "", f"error: it did not end within {SECONDS} s\n"
    return done.returncode, done.stdout, done.stderr


def verdict(losses: tuple[float, ...], expected: tuple[float, ...], said: str) -> str:
    """Return what a run came to: its losses, against the pin's, or why there are none."""
    if not losses:
        errors = [line for line in said.splitlines() if re.match(r"(error|\w+Error): ", line)]
        return f"fails: {(errors or said.strip().splitlines() or ['no word'])[-1]}".replace("|", "/")[:200]
    shown = ", ".join(f"{loss:.6f}" for loss in losses)
    if not expected:
        return shown
    if losses == expected:
        return "the pin's losses, to the last bit"
    return f"{shown}: the pin's within {max(abs(a / b - 1) for a, b in zip(losses, expected, strict=True)):.1e}"


def needs_of(source: Path, commit: str) -> str:
    """Return what of the large packages a commit pins."""
    with reading.seen(source) as folder:
        done = git.run(folder, "show", f"{commit}:requirements.txt")
    found = re.findall(rf"^({'|'.join(PACKAGES)})\S*?==(\S+)", done.stdout, re.MULTILINE)
    return ", ".join(f"{name} {version}" for name, version in found) or "none"
