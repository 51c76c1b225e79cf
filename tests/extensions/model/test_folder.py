"""The newest checkpoint of a folder is that of the last launch and step, and no average."""

import os

import pytest
import torch
from safetensors.torch import save_file

from extensions.averages import posthoc
from extensions.model import folder


def leave(where, name: str, steps: str, started: str, **metadata):
    where.mkdir(parents=True, exist_ok=True)
    said = {folder.RUN: "1", folder.STARTED: started, folder.STEPS: steps, **metadata}
    save_file({"x": torch.zeros(1)}, where / f"{name}.safetensors", said)


@pytest.fixture
def left(tmp_path):
    leave(tmp_path, "abandoned", "900", "2026-01-01")
    leave(tmp_path, "at", "100", "2026-01-02")
    leave(tmp_path, "last", "200", "2026-01-02")
    leave(tmp_path, "last.ema-0.10", "200", "2026-01-02", **{folder.AVERAGE: "0.10"})
    os.utime(tmp_path / "abandoned.safetensors")
    (tmp_path / ".hidden.safetensors").write_bytes(b"half")
    return tmp_path


def test_the_newest_and_that_of_a_step(left, tmp_path):
    assert folder.last([tmp_path / "none", left]).path.name == "last.safetensors"
    assert folder.last([left], 100).path.name == "at.safetensors"
    assert folder.last([left], 101) is None and folder.last([]) is None


@pytest.mark.parametrize(("said", "steps"), [("12", 12), ("", None), ("-1", None), ("1e3", None), ("9" * 30, None)])
def test_a_step_is_a_number_or_unknown(tmp_path, said, steps):
    leave(tmp_path, "x", said, "")
    assert folder.steps(folder.last([tmp_path])) == steps


def test_names_are_those_that_averages_have():
    assert (folder.STEPS, folder.AVERAGE) == (posthoc.STEPS, posthoc.PREFIX)
