"""make versions: runs the suite's core on the lower and the upper bounds of pyproject.toml's ranges; a table.

Each bound has a virtual environment of its own, sd-scripts-runtime/versions/<bound>, which uv makes: the lower one
has the lowest version that each range allows, the upper one the newest. ONLY holds all others at the lock files'
versions, so that one package can be blamed, and takes versions outside of the ranges, too: name==version.
"""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from extensions.base.errors import UserError
from extensions.base.paths import ROOT, RUNTIME
from extensions.base.reporting import exit_code_of
from extensions.base.saving import write_text
from extensions.launch.stages import TRAINERS
from extensions.upstream import eras, submodule
from tests.proofs.tricks import Case, case_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest needs there

RESOLUTIONS = {"lower": "lowest-direct", "upper": "highest"}
FOLDER = RUNTIME / "versions"
LOCKS = (ROOT / "requirements.lock", ROOT / "tests" / "requirements.lock")
# What calls other people's packages, and is fast; the slow tests of these folders are left out.
CORE = tuple(
    f"tests/extensions/{room}"
    for room in (
        "averages",
        "data",
        "evaluation",
        "model",
        "objectives",
        "optimizers",
        "plugins",
        "reference",
        "resume",
    )
    + ("standins", "text", "trainer", "upstream", "test_loop.py", "test_manager.py", "test_manager_outside.py")
)
WORKERS = 2  # as in `make test`
SECONDS = 3600  # of the core, at the most
SHOWN = 20  # failures in the table


@dataclass(frozen=True)
class Outcome:
    """What came of one bound. versions: {package: version}; lines: what ran and how it ended, each (what, how)."""

    bound: str
    python: str
    versions: dict[str, str]
    lines: tuple[tuple[str, str], ...]
    failed: tuple[str, ...]


def ranges() -> tuple[dict[str, str], set[str]]:
    """Return ({package: its range}, the names of all that pyproject.toml names, those of its groups, too)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [Requirement(line) for line in project["project"]["dependencies"]]
    groups = [line for group in project["dependency-groups"].values() for line in group if isinstance(line, str)]
    named = {canonicalize_name(each.name): str(each.specifier) for each in asked}
    return named, named.keys() | {canonicalize_name(Requirement(line).name) for line in groups}


def chosen(only: str) -> dict[str, str]:
    """Return {package: "==version", or "" for its bound} of ONLY. UserError for what is no package of ours."""
    found, names = {}, ranges()[1]
    for word in only.split():
        try:
            asked = Requirement(word)
        except InvalidRequirement:
            raise UserError(f"ONLY={word}: give names, or name==version") from None
        if canonicalize_name(asked.name) not in names:
            raise UserError(f"ONLY={word}: pyproject.toml names no {asked.name}")
        found[canonicalize_name(asked.name)] = str(asked.specifier)
    return found


def held(only: dict[str, str], names: set[str]) -> str:
    """Return the lock files' lines of the packages that pyproject.toml names, less those of `only`."""
    lines = [line for lock in LOCKS for line in lock.read_text(encoding="utf-8").splitlines()]
    keep = [line for line in lines if canonicalize_name(Requirement(line).name) in names - only.keys()]
    return "".join(f"{line}\n" for line in dict.fromkeys(keep))


def uv() -> list[str]:
    """Return the words that start uv. UserError where it is not installed."""
    if found := shutil.which("uv"):
        return [found]
    raise UserError("make versions needs uv: pip install uv")


def said_by(words: list[str], what: str) -> str:
    """Return what a program prints. UserError with its first lines, as one, where it fails."""
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{what}: {' '.join(done.stderr.split())[:600] or f'exit code {done.returncode}'}")
    return done.stdout


def pins(bound: str, only: dict[str, str]) -> str:
    """Return the exact versions of one bound, a line each. UserError where there is no such set."""
    folder = FOLDER / f"{bound}-asked"
    folder.mkdir(parents=True, exist_ok=True)
    words = [*uv(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", base_python()]
    words += [f"--resolution={RESOLUTIONS[bound]}", "pyproject.toml", "--group=pyproject.toml:dev"]
    if only:
        write_text(folder / "held.txt", held(only, ranges()[1]))
        write_text(folder / "given.txt", "".join(f"{name}{given}\n" for name, given in only.items() if given))
        words += [f"--constraint={folder / 'held.txt'}", f"--override={folder / 'given.txt'}"]
    return said_by(words, f"no set of versions at the {bound} bound")


def base_python() -> str:
    """Return the Python of which the environments are made, as `make setup` takes it."""
    return os.environ.get("BASE_PYTHON") or "python3"


def environment(bound: str, wanted: str) -> Path:
    """Make a virtual environment with exactly these versions; its Python. uv keeps what it has fetched before."""
    folder = FOLDER / bound
    listed = FOLDER / f"{bound}.txt"
    write_text(listed, wanted)
    said_by([*uv(), "venv", "--quiet", "--clear", "--no-python-downloads", f"--python={base_python()}", str(folder)],
            f"{folder} cannot be made")  # fmt: skip
    python = folder / "bin" / "python"
    said_by([*uv(), "pip", "sync", "--quiet", f"--python={python}", str(listed)], f"{listed} cannot be installed")
    purelib = said_by([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], str(python))
    write_text(Path(purelib.strip()) / "sdxl_trainer.pth", f"{ROOT}\n")  # as installed: from any folder
    return python


def core(python: Path, bound: str) -> tuple[list[Case], str]:
    """Run the core of the suite in an environment; (its tests, "" or why it came to none)."""
    report, log = FOLDER / f"{bound}.xml", FOLDER / f"{bound}.log"
    report.unlink(missing_ok=True)
    words = [str(python), "-m", "pytest", "-m", "not slow", f"-n{WORKERS}", "--dist", "loadfile"]
    words += ["-o", "junit_family=xunit1", f"--junitxml={report}", *CORE]
    variables = os.environ | {"PYTHON": str(python), "CI": "1"}  # CI: the same examples of property tests each time
    try:
        with log.open("w", encoding="utf-8") as file:
            code = subprocess.run(
                words, cwd=ROOT, env=variables, stdout=file, stderr=subprocess.STDOUT, check=False, timeout=SECONDS
            ).returncode
    except subprocess.TimeoutExpired:
        return [], f"pytest did not end within {SECONDS} s; {log}"
    if code not in (0, 1) or not report.is_file():
        last = (log.read_text(encoding="utf-8").strip().splitlines() or ["no word"])[-1]
        return [], f"pytest ended with {code}: {last}; {log}"
    return [case_of(element) for element in xml.parse(report).iter("testcase")], ""


def tried(bound: str, only: dict[str, str]) -> Outcome:
    """Make the environment of a bound, run the core and a tiny run with each trainer."""
    wanted = pins(bound, only)
    print(f"{bound}: {wanted.count('==')} packages …", file=sys.stderr, flush=True)
    python = environment(bound, wanted)
    asked = [Requirement(line) for line in wanted.splitlines() if "==" in line]
    versions = {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in asked}
    cases, wrong = core(python, bound)
    failed = [case.test for case in cases if case.outcome == "failed"] + [wrong] * bool(wrong)
    counts = [f"{sum(case.outcome == kind for case in cases)} {kind}" for kind in ("passed", "failed", "skipped")]
    lines = [("the core of the suite", wrong or ", ".join(counts))]
    for trainer in TRAINERS:
        losses, said = eras.run_of(submodule.pin(), trainer, str(python))
        lines.append((f"a tiny run of {eras.RUN}, {trainer}", eras.verdict(losses, (), said)))
        failed += [] if losses else [lines[-1][1]]
    version = said_by([str(python), "-c", "import platform; print(platform.python_version())"], str(python)).strip()
    return Outcome(bound, version, versions, tuple(lines), tuple(failed))


def page(outcomes: list[Outcome], only: dict[str, str]) -> str:
    """Return the table of what was installed and how it ended, in Markdown."""
    day, allowed = datetime.now(timezone.utc).date(), ranges()[0]
    cells = [("package", "range", *(each.bound for each in outcomes)), ("---",) * (2 + len(outcomes))]
    cells += [("Python", "", *(each.python for each in outcomes))]
    names = [name for name in allowed if not only or name in only]
    cells += [(name, allowed[name], *(each.versions.get(name, "") for each in outcomes)) for name in names]
    for line in zip(*(each.lines for each in outcomes), strict=True):
        cells.append((line[0][0], "", *(how for _, how in line)))
    said = [f"On {day}{', all others as locked' if only else ''}:", "", *(f"| {' | '.join(row)} |" for row in cells)]
    for each in filter(lambda each: each.failed, outcomes):
        more = [f"- and {len(each.failed) - SHOWN} more"] if len(each.failed) > SHOWN else []
        said += ["", f"Failed at the {each.bound} bound:", "", *(f"- {name}" for name in each.failed[:SHOWN]), *more]
    return "\n".join(said) + "\n"


def main(words: list[str]) -> int:
    """Try the bounds, print the page and write it; 1 where something failed."""
    bound, only = (*words, "", "")[:2]
    if bound not in ("", *RESOLUTIONS):
        raise UserError(f"BOUND={bound}: lower or upper")
    given = chosen(only)
    outcomes = [tried(name, given) for name in ([bound] if bound else RESOLUTIONS)]
    said = page(outcomes, given)
    write_text(FOLDER / "versions.md", said)
    print(said, end="")
    return 1 if any(each.failed for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
