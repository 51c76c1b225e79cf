"""States of --resume: what accelerate writes passes, a pickle that would run code is refused before it is loaded."""

import pickle
import random
import zipfile

import numpy as np
import pytest
import torch

from extensions.base.errors import UserError
from extensions.upstream import pickles


class Runs:
    """A pickle of it writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def state(tmp_path):
    """What accelerate saves for one process."""
    folder = tmp_path / "state"
    folder.mkdir()
    torch.save({"state": {0: {"exp_avg": torch.zeros(2)}}}, folder / "optimizer.bin")
    states = {"random": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    torch.save(states, folder / "random_states_0.pkl")
    (folder / "latest").write_text("pytorch_model")
    return folder


def refused(folder, **options) -> str:
    with pytest.raises(UserError) as error:
        pickles.check_state(str(folder), deepspeed=False, **options)
    assert str(error.value).isprintable()
    return str(error.value)


def test_a_state_passes(state):
    pickles.check_state(str(state), deepspeed=False)


@pytest.mark.parametrize("name", ["optimizer.bin", "deep/er/weights.safetensors", "any"])
@pytest.mark.parametrize("how", ["zip", "bare", "legacy", "appended"])
def test_a_pickle_that_runs_code_is_refused_whatever_its_name(name, how, state, tmp_path):
    victim, path = tmp_path / "ran", state / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "bare":
        path.write_bytes(pickle.dumps(Runs(victim)))
    else:
        torch.save({"a": Runs(victim)}, path, _use_new_zipfile_serialization=how != "legacy")
    if how == "appended":
        path.write_bytes(b"{}      " + path.read_bytes())
    assert name in refused(state)
    assert not victim.exists()


def test_deepspeeds_own_are_let_pass_where_it_runs(state):
    with zipfile.ZipFile(state / "zero.pt", "w") as archive:
        archive.writestr("zero/data.pkl", b"\x80\x02cdeepspeed.runtime.zero.config\nZeroStageEnum\nq\x00.")
        archive.writestr("zero/version", "3")
    assert "ZeroStageEnum" in refused(state)
    assert pickles.names_in(state / "zero.pt") <= pickles.DEEPSPEED


def test_damaged_and_missing_ones(state, tmp_path):
    assert "no folder" in refused(tmp_path / "nowhere")
    (state / "optimizer.bin").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    assert "optimizer.bin cannot be read" in refused(state)
