"""What is typed after make is text: no quote, `$(…)` or line break in it reaches a shell, and none is an option."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions.base.paths import ROOT

MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(not MAKE, reason="make is not installed")

RUNS = [
    "--help",
    "it's",
    'a"b',
    '"; touch HERE; "',
    "'; touch HERE; '",
    "$(touch HERE)",
    "$(shell touch HERE)",
    "${shell touch HERE}",
    "$(error no)",
    "$(value X",
    "`touch HERE`",
    "$HOME",
    "$$(touch HERE)",
    "a\nb",
    "\n",
    "x; touch HERE",
    "x && touch HERE",
    "a | touch HERE",
    "> HERE",
    "# no",
    "\\",
    "../25022601",
    "*",
    "\x1b[31mred",
]
VERBS = {
    "train": "RUN",
    "show": "RUN",
    "plan": "RUN",
    "diff": "A",
    "report": "RUN",
    "compare": "RUNS",
    "watch": "RUN",
    "export": "RUN",
    "scan": "RUN",
    "blend": "A",
    "upload": "REPO",
    "chain": "SESSION",
    "index": "META",
    "check-data": "META",
    "pack": "META",
    "latents": "IMAGES",
    "port-patches": "UPSTREAM",
}


@pytest.fixture
def here(tmp_path) -> Path:
    """A folder with the Makefile whose .venv is this one's Python, so that nothing is set up."""
    for name in ("Makefile", "extensions", "train", "patches"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec env PYTHONPATH="{ROOT}" "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for name in ("pyproject.toml", "requirements.lock", ".venv/.installed"):
        (tmp_path / name).touch()
    return tmp_path


def make(here, *words, **environment) -> subprocess.CompletedProcess:
    variables = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        [MAKE, *words],
        cwd=here,
        env=variables | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("run", RUNS, ids=ascii)
def test_a_run_is_a_name_and_nothing_more(here, run):
    before = contents(here)
    for done in (make(here, "show", f"RUN={run}"), make(here, "show", RUN=run)):
        assert done.returncode == 2 and done.stdout == "", done.stdout
        line, *rest = done.stderr.splitlines()
        assert line.startswith("error: there is no run ") and line.isprintable(), done.stderr
        assert all(each.startswith("make: ***") for each in rest)
    assert contents(here) == before


@pytest.mark.parametrize("text", ["--help", "$(shell touch HERE)", "'\"; touch HERE; \"'", "a\nb"], ids=ascii)
@pytest.mark.parametrize("verb", VERBS)
def test_the_other_verbs(here, verb, text):
    done = make(here, verb, f"{VERBS[verb]}={text}")
    assert done.returncode == 2 and "usage" not in done.stdout.lower()
    assert "Traceback" not in done.stderr and "syntax error" not in done.stderr
    assert not list(here.rglob("HERE"))


@pytest.fixture
def echo(here) -> Path:
    """The same, with a Python that writes down what it is called with."""
    (here / ".venv" / "bin" / "python").write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" >> said\n")
    return here


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(text=TEXTS | st.sampled_from(RUNS), out=TEXTS, given_by=st.sampled_from(["words", "environment"]))
def test_every_text_arrives_as_it_was_typed(echo, text, out, given_by):
    (echo / "said").unlink(missing_ok=True)
    asked = {"META": text, "DATA": "latents", "OUT": out, "BAD": "skip"}
    words = [f"{name}={value}" for name, value in asked.items()]
    done = make(echo, "pack", *words) if given_by == "words" else make(echo, "pack", **asked)
    assert done.returncode == 0, done.stderr
    said = (echo / "said").read_bytes().decode().split("\0")[:-1]
    blanks = " \t\n\v\f\r" if given_by == "words" else ""  # make's own: it skips those before a value
    assert said[-4:] == ["--", text.lstrip(blanks), "latents", out.lstrip(blanks)] and "--bad=skip" in said


def test_several_policies_and_tricks_are_several_words(echo):
    assert make(echo, "index", "META=m", "POLICY=duplicates=first  missing=skip").returncode == 0
    said = (echo / "said").read_text().split("\0")[:-1]
    assert said[-4:] == ["--duplicates=first", "--missing=skip", "--", "m"]


@pytest.mark.parametrize("profile", ["$(shell touch HERE)", "tiny; touch HERE", "'"])
def test_a_profile_is_text_too(here, profile):
    before = contents(here)
    for done in (make(here, "train", "RUN=x", f"PROFILE={profile}"), make(here, "train", "RUN=x", PROFILE=profile)):
        assert done.returncode == 2 and "there is no run x" in done.stderr
    assert contents(here) == before
