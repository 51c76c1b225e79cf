"""`make ema`, as a person types it: the run's folder is found, and what cannot be is one line."""

import subprocess

import pytest
import torch
from safetensors.torch import load_file

from extensions.averages import posthoc
from extensions.base.paths import ROOT
from extensions.base.reporting import exit_code_of
from extensions.report import ema
from tests.helpers.averaging import averaged_run

RUN = "25022601"


@pytest.fixture
def left(tmp_path, monkeypatch):
    """What a run has left: a checkpoint, and snapshots of two steps."""
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    output = tmp_path / f"model_out_{RUN}"
    averaged_run(output)
    return output


def code(*words) -> int:
    return exit_code_of(ema.main, list(words))


def test_the_checkpoint_is_beside_the_runs(left, capsys):
    assert code(RUN, "0.07") == 0
    assert capsys.readouterr().out == f"saved {left / 'last.ema-0.07.safetensors'}\n"
    tracked = posthoc.make(left, 0.05)
    assert not all(
        torch.equal(*pair)
        for pair in zip(
            load_file(tracked).values(), load_file(left / "last.ema-0.07.safetensors").values(), strict=True
        )
    )


def test_of_an_earlier_step_into_a_file_of_its_own(left, tmp_path):
    assert code("--step=10", f"--out={tmp_path / 'x.safetensors'}", RUN, "0.2") == 0
    assert (tmp_path / "x.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([RUN, "0.3"], "error: LENGTH=0.3 is not a length from 0.02 to 0.25"),
        ([RUN, ""], "error: give RUN=<run> and LENGTH=<0.02 to 0.25>, e.g. make ema RUN=25022601 LENGTH=0.07"),
        (["", "0.07"], "error: give RUN=<run>"),
        (["1", "0.07"], "error: "),
        (["25022501", "0.07"], "error: "),
        (["--step=0", RUN, "0.07"], "error: STEP=0 is not a whole number from 1 up"),
        (["--step=15", RUN, "0.07"], "error: STEP=15: no snapshot of that optimizer step; there is 10, 20"),
        (["--out=x.ckpt", RUN, "0.07"], "error: OUT=x.ckpt is no .safetensors file"),
        (["--out=/nowhere/at/all/x.safetensors", RUN, "0.07"], "error: "),
    ],
)
def test_refused_in_one_line(left, capsys, words, line):
    before = sorted(path for path in left.parent.rglob("*"))
    assert code(*words) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1) and said.err.startswith(line)
    assert sorted(path for path in left.parent.rglob("*")) == before


def test_the_verb_hands_over_what_is_typed(left):
    untouched = [word for name in (".installed", ".standins", ".dev") for word in ("-o", f".venv/{name}")]
    done = subprocess.run(
        ["make", *untouched, "ema", f"RUN={RUN}", "LENGTH=0.15", "STEP=20"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (left / "last.ema-0.15.safetensors").is_file()
