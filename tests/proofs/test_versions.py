"""make versions: what uv is asked for, what is told, and that a failure is one. uv and the runs are stood in for."""

import os
import re
import sys

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.launch.stages import TRAINERS
from extensions.upstream import eras, submodule
from tests.proofs import versions

# Tells what it was asked for; what it finds is given. An environment's Python is this one.
UV = f"""#!{sys.executable}
import os, pathlib, sys
here, words = pathlib.Path(__file__).parent, sys.argv[1:]
with (here / "asked").open("a") as file:
    print(*words, file=file)
if (here / "fails").exists() and words[:2] == ["pip", "compile"]:
    sys.exit("No solution found\\n  because of this")
if words[:2] == ["pip", "compile"]:
    print("torch==2.11.0\\nnumpy==1.26.0 ; python_version < '4'\\nsix==1.17.0")
if words[0] == "venv":
    (pathlib.Path(words[-1]) / "bin").mkdir(parents=True, exist_ok=True)
    python = pathlib.Path(words[-1]) / "bin" / "python"
    case = 'case "$*" in *purelib*) echo "%s";; *) exec "%s" "$@";; esac' % (here, sys.executable)
    python.write_text(f"#!/bin/sh\\n{{case}}\\n")
    python.chmod(0o755)
"""
LOSSES = (1.0, 0.5, 0.25)


@pytest.fixture
def uv(tmp_path, monkeypatch):
    """A folder with a uv, first in PATH, with what it was asked for in `asked`."""
    folder = tmp_path / "uv"
    folder.mkdir()
    (folder / "uv").write_text(UV)
    (folder / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("BASE_PYTHON", "python3.12")
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The tiny runs that were made, as (trainer, python); their losses are given."""
    made = []

    def run_of(commit, trainer, python):
        made.append((trainer, python))
        return LOSSES, ""

    monkeypatch.setattr(eras, "run_of", run_of)
    monkeypatch.setattr(submodule, "pin", lambda: "0" * 40)
    monkeypatch.setattr(versions, "FOLDER", tmp_path / "versions")
    monkeypatch.setattr(versions, "WORKERS", 0)  # tests of a line each
    return made


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Writes a core of the suite."""

    def write(text):
        (tmp_path / "test_core.py").write_text(text)
        monkeypatch.setattr(versions, "CORE", (str(tmp_path / "test_core.py"),))

    write("def test_one(): pass\n")
    return write


def rows(said: str) -> dict[str, list[str]]:
    """{first cell: the others} of a table in Markdown."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in said.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in cells}


def test_both_bounds_are_a_table(uv, runs, suite, capsys):
    assert versions.main(["", ""]) == 0
    said = capsys.readouterr().out
    found, asked = rows(said), (uv / "asked").read_text().splitlines()
    assert found["package"] == ["range", "lower", "upper"]
    assert found["torch"] == [versions.ranges()[0]["torch"], "2.11.0", "2.11.0"]
    assert found["numpy"][1:] == ["1.26.0", "1.26.0"] and "six" not in found
    assert found["the core of the suite"][1:] == ["1 passed, 0 failed, 0 skipped"] * 2
    for trainer in TRAINERS:
        assert found[f"a tiny run of {eras.RUN}, {trainer}"][1:] == ["1.000000, 0.500000, 0.250000"] * 2
    assert [re.search(r"--resolution=(\S+)", line)[1] for line in asked if line.startswith("pip compile")] == [
        "lowest-direct",
        "highest",
    ]
    assert sum("--python=python3.12" in line or "--python python3.12" in line for line in asked) == 4
    assert not any("constraint" in line for line in asked)
    folders = [versions.FOLDER / bound / "bin" / "python" for bound in ("lower", "upper")]
    assert runs == [(trainer, str(python)) for python in folders for trainer in TRAINERS]
    assert (versions.FOLDER / "versions.md").read_text() == said
    assert (uv / "sdxl_trainer.pth").read_text() == f"{ROOT}\n"


def test_what_fails_is_named(uv, runs, suite, capsys, monkeypatch):
    suite("import os\ndef test_bad(): assert os.environ['PYTHON'].endswith('lower/bin/python') is False\n")
    monkeypatch.setattr(eras, "run_of", lambda *_: ((), "starting\nRuntimeError: no such operator\n"))
    assert versions.main(["lower"]) == 1
    said = capsys.readouterr().out
    assert rows(said)["the core of the suite"][1] == "0 passed, 1 failed, 0 skipped"
    assert "Failed at the lower bound:" in said and "::test_bad\n" in said
    assert said.count("- fails: RuntimeError: no such operator\n") == len(TRAINERS)


def test_a_core_that_does_not_begin_has_failed(uv, runs, suite, capsys):
    suite("import a_module_that_nobody_has\n")
    assert versions.main(["upper"]) == 1
    suite("")
    assert versions.main(["upper"]) == 1
    assert "pytest ended with 5" in capsys.readouterr().out


def test_many_failures_are_counted(uv, runs, suite, capsys):
    suite("import pytest\n@pytest.mark.parametrize('n', range(23))\ndef test_bad(n): assert 0\n")
    versions.main(["lower"])
    said = capsys.readouterr().out
    assert said.count("::test_bad[") == versions.SHOWN == 20 and "\n- and 3 more\n" in said


def test_one_package_moves_and_the_others_stay_as_locked(uv, runs, suite, capsys):
    assert versions.main(["lower", "Transformers torch==2.15.0"]) == 0
    folder = versions.FOLDER / "lower-asked"
    held, given = (folder / "held.txt").read_text(), (folder / "given.txt").read_text()
    assert given == "torch==2.15.0\n"
    assert set(rows(capsys.readouterr().out)) & {"torch", "transformers", "numpy"} == {"torch", "transformers"}
    (asked,) = (line for line in (uv / "asked").read_text().splitlines() if line.startswith("pip compile"))
    assert f"--constraint={folder / 'held.txt'} --override={folder / 'given.txt'}" in asked
    names = [re.match(r"[\w-]+", line)[0] for line in held.splitlines()]
    assert {"accelerate", "diffusers", "pytest", "numpy"} <= set(names)
    assert not {"torch", "transformers", "tokenizers", "idna"} & set(names)  # the last two are others' needs
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    assert next(line for line in locked if line.startswith("accelerate==")) in held.splitlines()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["middle"], "BOUND=middle: lower or upper"),
        (["", "no-such-package"], "ONLY=no-such-package: pyproject.toml names no no-such-package"),
        (["", "torch=2.15"], "ONLY=torch=2.15: give names, or name==version"),
    ],
)
def test_what_is_no_bound_and_no_package_is_one_line(uv, runs, words, says):
    with pytest.raises(UserError) as caught:
        versions.main(words)
    assert str(caught.value) == says and not (uv / "asked").exists()


def test_versions_that_do_not_go_together_are_one_line(uv, runs, suite):
    (uv / "fails").touch()
    with pytest.raises(UserError) as caught:
        versions.main(["lower"])
    assert str(caught.value) == "no set of versions at the lower bound: No solution found because of this"


def test_without_uv_it_says_what_to_do(tmp_path, runs, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="^make versions needs uv: pip install uv$"):
        versions.main([])


def test_every_range_is_looked_at():
    """Read as lines: a range with an upper bound, or none, in the list of dependencies."""
    listed = (ROOT / "pyproject.toml").read_text().split("\ndependencies = [\n")[1].split("\n]\n")[0]
    found = dict(re.findall(r'^  "([\w-]+)(?:\[\w+\])?([<>=][^"]*)"', listed, re.MULTILINE))
    allowed = versions.ranges()[0]
    assert {name.replace("_", "-"): set(range_.split(",")) for name, range_ in found.items()} == {
        name: set(range_.split(",")) for name, range_ in allowed.items()
    }
    assert {"pytest", "hypothesis", "scikit-image"} <= versions.ranges()[1]


@pytest.mark.parametrize("path", versions.CORE)
def test_the_core_is_there(path):
    assert (ROOT / path).exists()
