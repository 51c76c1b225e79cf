"""The commands, as a user types them."""

import json
import os
import subprocess
import sys

import pytest

from extensions.base.paths import LAUNCHERS, ROOT
from extensions.base.reporting import exit_code_of
from extensions.logbook import diff, registry
from extensions.logbook.__main__ import main
from extensions.logbook.commands import COLUMNS


def names(differences):
    return [difference.name for difference in differences]


def test_diff_names_what_the_experiment_changed():
    runs = registry.read_all()
    changed, numbered = diff.differences(runs["25022501"], runs["25022601"])
    assert names(changed) == ["learning_rate", "learning_rate_te1", "learning_rate_te2", "RAMDISK"]
    assert names(numbered) == ["seed", "output_dir", "log_prefix"]


def test_diff_shows_both_sides_and_the_run_number_after(capsys):
    assert main(["diff", "25022501", "25022601"]) == 0
    changed, numbered = capsys.readouterr().out.split("\n\n")
    assert changed.splitlines()[1].split() == ["learning_rate", "1e-6", "1.5e-6"]
    assert "seed" not in changed and "seed" in numbered


def test_diff_shows_a_missing_flag_and_a_borrowed_seed(capsys):
    assert main(["diff", "25030401", "25030402"]) == 0
    changed = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in changed[1:]] == ["NUMA"]
    assert main(["diff", "25022103", "25022501"]) == 0
    assert "gradient_accumulation_steps  -" in capsys.readouterr().out


def test_a_run_does_not_differ_from_itself(capsys):
    assert main(["diff", "25022501", "25022501"]) == 0
    assert "the same flags" in capsys.readouterr().out


def test_runs_has_one_whole_line_a_run(capsys):
    assert main(["runs"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "run" and all(column in head for column in COLUMNS)
    assert len(lines) == len(list(LAUNCHERS.glob("[0-9]*.sh")))
    line = next(line for line in lines if line.startswith("25031101"))
    assert "10000-40000 of 777917" in line and line.endswith("25030802")


def test_runs_of_one_session_as_json(capsys):
    assert main(["runs", "--session", "2503c", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)
    assert len(runs) == 13 and runs[0]["stop_step"] == 10_000


def test_show_has_header_facts_and_flags(capsys):
    assert main(["show", "25031502"]) == 0
    out = capsys.readouterr().out
    for part in (
        "AdaFactor, relative step. 6k dataset.",
        "1e-6 + 1e-5",
        "3890",
        "relative_step=True warmup_init=True",
    ):
        assert part in out


def test_path_is_the_launchers(capsys):
    assert main(["path", "model_out_25022601"]) == 0
    assert capsys.readouterr().out.strip() == str(LAUNCHERS / "25022601.sh")


UNKNOWN = [["show", "25022611"], ["path", "25022611"], ["diff", "25022611", "25022601"]]


@pytest.mark.parametrize("arguments", UNKNOWN)
def test_an_unknown_run_is_one_line_and_exit_code_2(arguments, capsys):
    assert exit_code_of(main, arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "25022601" in said


def test_starts_without_torch():
    script = "import sys; from extensions.logbook.__main__ import main; main(['runs'])"
    script += "; assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    ["logbook runs", "logbook runs --json", "logbook show 25022601", "logbook path 25022601", "plan 25022601"],
)
def test_a_reader_that_is_gone_ends_a_command_quietly(words):
    module, *rest = words.split()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"extensions.{module}", *rest],
            cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
