"""An optimizer's state out of several ranks' files: each reads its own weights and nothing else."""

from types import SimpleNamespace

import pytest
import torch

from extensions.base.errors import UserError
from extensions.optimizers import sharding
from extensions.resume import optimizer_shares
from extensions.resume.description import Description, State
from extensions.resume.parts import Part

CPU = SimpleNamespace(device=torch.device("cpu"))


def run_of(count: int, rank: int = 0, ranks: int = 1, divided: bool = True) -> SimpleNamespace:
    """A run with an optimizer over weights of growing size that has stepped those which are its own."""
    parameters = [torch.nn.Parameter(torch.arange(float(4 * number + 4))) for number in range(count)]
    optimizer = torch.optim.AdamW(parameters, lr=0.1)
    if divided:
        shards = sharding.Shards(optimizer)
        shards.me, shards.ranks = rank, ranks
    return SimpleNamespace(optimizer=optimizer, accelerator=CPU, parameters=parameters)


def stepped(run) -> None:
    shards = sharding.of(run.optimizer)
    for number, parameter in enumerate(run.parameters):
        if shards is None or shards.is_mine(number):
            parameter.grad = parameter.detach() + 1
    run.optimizer.step()


def state_of(folder, runs) -> State:
    for run in runs:
        stepped(run)
        Part(optimizer_shares.file_of(run), run.optimizer.state_dict()).write(folder)
    names = [path.name for path in folder.glob("*.safetensors")]
    return State(folder, Description(1, files={name: {} for name in names}))


def whole(count: int) -> dict:
    run = run_of(count, divided=False)
    stepped(run)
    return run.optimizer.state_dict()


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(one[key].equal(value) for key, value in other.items())


@pytest.mark.parametrize(("saved", "resumed"), [(1, 1), (1, 3), (4, 1), (4, 2), (4, 7), (3, 4)])
def test_the_shares_of_any_number_of_ranks_are_the_whole_state(saved, resumed, tmp_path):
    state = state_of(tmp_path, [run_of(9, rank, saved) for rank in range(saved)])
    found = {}
    for rank in range(resumed):
        run = run_of(9, rank, resumed)
        share = optimizer_shares.read(run, state)
        assert not found.keys() & share["state"].keys()
        found |= share["state"]
        assert share["param_groups"] == whole(9)["param_groups"]
        run.optimizer.load_state_dict(share)
    assert found.keys() == whole(9)["state"].keys()
    assert all(same(found[number], entries) for number, entries in whole(9)["state"].items())


def test_an_undivided_run_reads_all(tmp_path):
    state = state_of(tmp_path, [run_of(5, rank, 2) for rank in range(2)])
    assert optimizer_shares.read(run_of(5, divided=False), state)["state"].keys() == set(range(5))


def test_a_rank_reads_no_tensor_of_anothers(tmp_path, monkeypatch):
    state = state_of(tmp_path, [run_of(6, divided=False)])
    asked = []
    read = optimizer_shares.Read.__missing__
    monkeypatch.setattr(
        optimizer_shares.Read, "__missing__", lambda tensors, name: (asked.append(name), read(tensors, name))[1]
    )
    run = run_of(6, 1, 3)
    optimizer_shares.read(run, state)
    numbers = {int(name.split(".")[2]) for name in asked}
    assert numbers == {number for number in range(6) if sharding.of(run.optimizer).is_mine(number)} and numbers


def test_what_zero_has_divided_is_told(tmp_path):
    state = State(tmp_path, Description(1, files={"optimizer-0.safetensors": {}}))
    with pytest.raises(UserError, match="its optimizer is divided by ZeRO; resume with --deepspeed"):
        optimizer_shares.files_of(state)


def test_a_file_that_is_no_state_is_one_line(tmp_path):
    (tmp_path / optimizer_shares.WHOLE).write_bytes(b"nothing")
    state = State(tmp_path, Description(1, files={optimizer_shares.WHOLE: {}}))
    with pytest.raises(UserError, match="cannot be read .*take an older state"):
        optimizer_shares.read(run_of(1), state)
