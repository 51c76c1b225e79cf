"""The pin moved in one command: a commit, or a page and everything as it was. A project of the test's own, real git.

What trains is left out: a run's losses and parity are given.
"""

import os
import shutil
import subprocess
import sys

import pytest

from extensions.base.paths import ROOT
from extensions.upstream import git, submodule, upgrade

PATCH = """From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: someone <someone@localhost>
Date: Wed, 1 Jan 2025 00:00:00 +0000
Subject: sdxl_train.py: one line

Kind: hook.
Why: a test.
Drop when: never.

diff --git a/sdxl_train.py b/sdxl_train.py
--- a/sdxl_train.py
+++ b/sdxl_train.py
@@ -2,2 +2,3 @@
 second
+ours
 third
"""
# The parts that take minutes are given; an argument says which of them fails.
DRIVER = """
import sys
from extensions.upstream import eras, upgrade
fails = sys.argv[1]
eras.run_of = lambda commit: ((1.0, 0.5), "")
def row_with(what, source, how, expected):
    losses = () if fails == "run" else expected
    return eras.Row(*what, "2026-01-19", how, "21 of 21, none silent", "the pin's losses", "none", losses)
eras.row_with = row_with
upgrade.PARITY = ("-c", "import sys; print('losses differ'); sys.exit(%d)" % (fails == "parity"))
sys.exit(upgrade.main(sys.argv[2:]))
"""


def programs(folder, *lines):
    (folder / "sdxl_train.py").write_text("".join(f"{line}\n" for line in lines))
    git.output(folder, "add", "-A")
    git.output(folder, "commit", "-q", "-m", "programs")
    return git.output(folder, "rev-parse", "HEAD")


@pytest.fixture
def house(project, upstream):
    """A project with one patch, at upstream's first commit; upstream went on twice."""
    old = programs(upstream, "first", "second", "third", "fourth")
    programs(upstream, "first", "second", "third", "fourth", "fifth")
    git.output(upstream, "tag", "next")
    programs(upstream, "first", "SECOND", "THIRD")
    git.output(upstream, "tag", "apart")
    git.output(project, "update-index", "--cacheinfo", f"160000,{old},sd-scripts")
    shutil.copytree(ROOT / "extensions", project / "extensions", ignore=shutil.ignore_patterns("__pycache__"))
    (project / ".gitignore").write_text("sd-scripts-runtime/\n__pycache__/\nextensions/\n")
    (project / "sd-scripts-runtime").mkdir()
    (project / "patches").mkdir()
    (project / "patches" / "0001-sdxl_train.py-one-line.patch").write_text(PATCH)
    (project / "patches" / "series").write_text("0001-sdxl_train.py-one-line.patch\n")
    git.output(project, "add", "patches", ".gitignore")
    git.output(project, "commit", "-q", "-m", "patches")
    submodule.ensure(project)
    return project


def run(house, reference, fails=""):
    words = [sys.executable, "-c", DRIVER, fails, "--", reference]
    variables = os.environ | {"PYTHONPATH": str(house)}
    return subprocess.run(words, cwd=house, env=variables, capture_output=True, text=True, timeout=300, check=False)


def standing(house):
    """What must be as it was."""
    names = ("HEAD", "--symbolic-full-name", ":sd-scripts")
    return [git.run(house, "rev-parse", name, "HEAD").stdout for name in names] + [
        git.output(house, "status", "--porcelain"),
        git.output(house / "sd-scripts", "rev-parse", "HEAD"),
        git.output(house, "branch", "--list"),
        sorted((path.name, path.read_text()) for path in (house / "patches").iterdir()),
    ]


def test_what_goes_well_is_a_commit_on_a_branch(house, upstream):
    done = run(house, "next")
    assert done.returncode == 0, done.stderr
    parts = [line.partition(" ")[0] for line in done.stderr.splitlines() if line.endswith(" …")]
    assert [part for part in parts if part != "fetching"] == ["a", "the", "its", "make"]
    new = git.output(upstream, "rev-parse", "next")
    assert git.output(house, "branch", "--show-current") == f"sd-scripts-{new[:8]}"
    assert submodule.pin(house) == new == git.output(house / "sd-scripts", "rev-parse", "HEAD")
    assert git.output(house, "status", "--porcelain") == ""
    body = git.output(house, "log", "-1", "--format=%B")
    assert body.startswith(f"build: sd-scripts next ({new[:12]})") and "the pin's losses" in body
    (patch,) = (house / "patches").glob("*.patch")
    assert "+ours\n" in patch.read_text() and "\nindex " in patch.read_text()


@pytest.mark.parametrize(
    ("reference", "fails", "says"),
    [
        ("apart", "", "- ` second`: not there any more\n- `+ours`\n- ` third`: not there any more"),
        ("next", "run", "a tiny run of 25022601"),
        ("next", "parity", "losses differ"),
    ],
)
def test_what_stands_against_it_is_a_page_and_nothing_has_changed(house, reference, fails, says):
    before = standing(house)
    done = run(house, reference, fails)
    assert done.returncode == 1 and "nothing has changed" in done.stderr, done.stderr
    assert says in (house / "sd-scripts-runtime" / "upgrade-upstream.md").read_text()
    assert standing(house) == before and before[3] == ""


def test_what_is_not_committed_is_not_touched(house):
    (house / "mine").write_text("mine")
    done = run(house, "next")
    assert done.returncode == 2 and "commit or stash them first" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("reference", "says"), [("no-such", "has no commit 'no-such'"), ("", "give UPSTREAM=")])
def test_a_reference_that_is_none_is_one_line(house, reference, says):
    done = run(house, reference)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1


def test_where_a_line_stands_now():
    assert upgrade.where("    b", ["a", "b", "c", "  b"]) == ": line 2, 4"
    assert upgrade.where("x", ["a"]) == ": not there any more" and upgrade.where("", [""]) == ""
