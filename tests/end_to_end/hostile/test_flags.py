"""Flags and variables that make no sense: one line, exit code 2, and nothing made, in a dry run, too."""

import os
import subprocess

import pytest

from extensions.base.paths import LAUNCHERS
from extensions.base.reporting import exit_code_of
from extensions.launch.__main__ import main
from extensions.logbook import registry
from tests.helpers.launching import launch

SCRIPT = LAUNCHERS / "25022601.sh"


@pytest.fixture(scope="module")
def words() -> list[str]:
    """What train/25022601.sh hands over; its folders are named, and would be made where we stand."""
    return registry.ask(SCRIPT)


REFUSED = [
    ({"DRY_RUN": "on"}, "DRY_RUN=on is neither yes nor no"),
    ({"DRY_RUN": "2"}, "DRY_RUN=2 is neither yes nor no"),
    ({"FORCE": "ja"}, "FORCE=ja is neither yes nor no"),
    ({"CPU": "maybe"}, "CPU=maybe is neither yes nor no"),
    ({"RESUME": "yes"}, "RESUME=yes is unknown"),
    ({"NNODES": "99999999"}, "NNODES=99999999 is not a whole number from 1 to 4096"),
    ({"ARGS": "--seed=-1"}, "--seed=-1 is not a whole number from 0"),
    ({"ARGS": "--seed=99999999999"}, "--seed=99999999999 is not a whole number from 0 to 4294967295"),
    ({"ARGS": "--seed"}, "--seed has no value"),
    ({"ARGS": "--max_data_loader_n_workers=-1"}, "--max_data_loader_n_workers=-1 is not a whole number"),
    ({"ARGS": "--learning_rate=1e400"}, "--learning_rate=1e400 is not a number"),
    ({"ARGS": "--learning_rate=1e-400"}, "--learning_rate=1e-400 is not a number"),
    ({"ARGS": "--learning_rate=NaN"}, "--learning_rate=NaN is not a number"),
    ({"ARGS": "--learning_rate"}, "--learning_rate has no value"),
    ({"ARGS": "--config_file=gone.toml"}, "--config_file=gone.toml: there is no file gone.toml"),
    ({"ARGS": "--output_name=../x"}, "--output_name=../x is not a plain name"),
    ({"ARGS": "--output_name=/etc/x"}, "--output_name=/etc/x is not a plain name"),
    ({"ARGS": "--output_dir="}, "--output_dir has no value"),
    ({"ARGS": "--unet_percent"}, "--unet_percent has no value"),
    ({"ARGS": "--full_bf16=no"}, "--full_bf16=no: it takes no value"),
    ({"ARGS": "--log_prefix a b"}, "--log_prefix takes one value, not 2"),
    ({"ARGS": "--"}, "-- names no flag"),
    ({"ARGS": "-h"}, "'-h' stands before any flag"),
    ({"ARGS": "'"}, 'ARGS="\'" cannot be read'),
    ({"ARGS": "--seed=1\n2"}, "--seed takes one value, not 2: 1 2"),
    ({"ARGS": "--seed='1\n2'"}, "--seed=1\\n2 is not a whole number"),
]


@pytest.mark.parametrize("dry_run", ["0", "1"])
@pytest.mark.parametrize(("environment", "line"), REFUSED, ids=lambda each: str(each)[:40])
def test_is_refused_first(words, tmp_path, monkeypatch, capsys, environment, line, dry_run):
    monkeypatch.chdir(tmp_path)
    for name, value in ({"DRY_RUN": dry_run, "PROFILE": "tiny"} | environment).items():
        monkeypatch.setenv(name, value)
    assert exit_code_of(main, words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"error: {line}") and said.err.count("\n") == 1, said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gpus", ["1000", "129", "-1", "0", "1e2", "4 4", "∞"])
def test_gpus_beyond_reason_in_a_dry_run(words, tmp_path, monkeypatch, capsys, gpus):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRY_RUN", "1")
    asked = [f"GPUS={gpus}" if word.startswith("GPUS=") else word for word in words]
    assert exit_code_of(main, asked) == 2
    assert capsys.readouterr().err == f"error: GPUS={gpus} is not a whole number from 1 to 128\n"


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "a\nb", "--help", "x" * 250])
def test_a_run_name_that_is_a_path(tmp_path, name):
    run = launch("25022601", tmp_path / "output", RUN_NAME=name, DRY_RUN=1, CPU=1)
    assert run.code == 2 and run.said.startswith("error: RUN_NAME=") and run.said.count("\n") == 1, run.said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["--dry-run", "--help", "x y"])
def test_a_launcher_takes_no_words(tmp_path, word):
    """It trained, and said nothing of them."""
    environment = os.environ | {"OUTPUT": str(tmp_path)}
    done = subprocess.run([SCRIPT, word], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "takes no words" in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_is_shown_and_leaves_no_run(tmp_path):
    run = launch("25022601", tmp_path / "output", ARGS="--help", TRAINER="reference")
    assert run.code == 0 and "--unet_percent" in run.said and "--learning_rate" in run.said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trainer", ["reference", "sd-scripts"])
@pytest.mark.parametrize("tracker", ["wandb", "all"])
def test_a_tracker_that_is_not_installed(words, tmp_path, monkeypatch, capsys, tracker, trainer):
    monkeypatch.chdir(tmp_path)
    there = lambda name: object() if name == "tensorboard" else None  # noqa: E731
    monkeypatch.setattr("extensions.flags.trackers.find_spec", there)
    for name, value in {"CPU": "1", "ARGS": f"--log_with={tracker}", "TRAINER": trainer}.items():
        monkeypatch.setenv(name, value)
    assert exit_code_of(main, words) == 2
    assert capsys.readouterr().err.startswith(f"error: --log_with={tracker}: the package wandb is not installed")
    assert list(tmp_path.iterdir()) == []
