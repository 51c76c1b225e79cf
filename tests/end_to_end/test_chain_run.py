"""`make chain` itself, over the first three segments of 2503c: real launches, each from its parent's state."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from extensions.logbook import chain, registry
from extensions.resume import states

FIRST = ["25030802", "25031101", "25031401"]


@pytest.fixture
def shortened(monkeypatch, tmp_path):
    """The logbook with a session that ends after three segments; stand-ins and the reference trainer."""
    every = registry.read_all()
    end = every[FIRST[-1]].stop_step
    monkeypatch.setattr(registry, "read_all", lambda: {run: replace(every[run], steps=end) for run in FIRST})
    for name, value in {"PROFILE": "tiny", "TRAINER": "reference", "LOGS": str(tmp_path / "logs")}.items():
        monkeypatch.setenv(name, value)
    return chain.scaled(end)


@pytest.mark.slow
def test_three_segments_end_where_the_unbroken_run_ends(shortened, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "chain"
    assert chain.main(["2503c", str(folder)]) == 0
    assert "is equal to" in capfd.readouterr().out
    last = [
        states.newest_good(states.folder_of(folder / part / f"model_out_{run}"))
        for part, run in (("segments", FIRST[-1]), ("unbroken", FIRST[0]))
    ]
    assert {state.optimizer_steps for state in last} == {shortened}
    # By the tensors themselves, not by the checksums that the chain compares.
    files = sorted(path.name for path in last[0].path.glob("*.safetensors"))
    assert files and files == sorted(path.name for path in last[1].path.glob("*.safetensors"))
    for name in files:
        one, other = (load_file(state.path / name) for state in last)
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    begun = len(list((tmp_path / "logs").glob("*/*/manifest.json")))
    assert begun == len(FIRST) + 1
    monkeypatch.setattr(chain, "launch", lambda *_, **__: pytest.fail("launched again"))
    assert chain.main(["2503c", str(folder)]) == 0, "what is done is not done again"
