"""A state on disk: whole or not there; damage is found, the newest good one taken."""

import json

import pytest
import torch

from extensions.base.errors import UserError
from extensions.resume import parts, states
from extensions.resume.description import Description


def made(folder, steps):
    temporary = states.begin(folder, steps)
    files = {
        "a.safetensors": parts.Part("a.safetensors", {"weight": torch.full((9,), float(steps))}).write(temporary)
    }
    return states.commit(temporary, Description(optimizer_steps=steps), files)


def test_written_read_and_verified(tmp_path):
    state = made(tmp_path, 1200)
    assert state.path.name == "step00001200" and [path.name for path in tmp_path.iterdir()] == ["step00001200"]
    again = states.read(state.path)
    states.verify(again)
    assert again.facts == state.facts and again.optimizer_steps == 1200
    assert parts.read(again.file("a.safetensors"))["weight"][0] == 1200


def test_newest_is_the_last_written_not_the_highest(tmp_path):
    """After a roll-back, or a run begun again, the step is a lower one."""
    for steps in (10, 20, 30, 15):
        last = made(tmp_path, steps)
    assert states.newest_good(tmp_path).optimizer_steps == 15
    states.keep_last(tmp_path, 2, last)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step00000015", "step00000030"]
    made(tmp_path, 30)  # the same step again replaces it
    assert states.newest_good(tmp_path).optimizer_steps == 30
    assert states.newest_good(tmp_path / "nothing") is None


def test_a_clock_set_back_does_not_make_a_state_older(tmp_path, monkeypatch):
    """Summer time on a machine with two systems, or a time server's correction."""
    hour = 3600 * 10**9
    for clock, steps in ((5 * hour, 10), (6 * hour, 20), (5 * hour, 30), (5 * hour + 1, 40)):
        monkeypatch.setattr(states.time, "time_ns", lambda clock=clock: clock)
        last = made(tmp_path, steps)
        assert states.newest_good(tmp_path).optimizer_steps == steps
        states.keep_last(tmp_path, 2, last)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step00000030", "step00000040"]


def test_what_was_saved_just_now_stays(tmp_path):
    saved = made(tmp_path, 30)
    for steps in (10, 20):
        made(tmp_path, steps)
    states.keep_last(tmp_path, 1, saved)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step00000020", "step00000030"]


def damage(path, how):
    file = path / "a.safetensors"
    content = bytearray(file.read_bytes())
    if how == "cut":
        file.write_bytes(content[:-1])
    elif how == "flipped":
        content[-1] ^= 1
        file.write_bytes(content)
    elif how == "missing":
        file.unlink()
    elif how == "description":
        (path / "state.json").write_text('{"version": 1, "fi')
    else:
        facts = json.loads((path / "state.json").read_text())
        (path / "state.json").write_text(json.dumps(facts | {"version": 99}))


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("cut", "the state says"),
        ("flipped", "is damaged"),
        ("missing", "is missing; take an older state"),
        ("description", "is not a training state"),
        ("version", "of version 99, this program reads 1"),
    ],
)
def test_a_damaged_state_is_passed_over_with_its_reason(tmp_path, how, line):
    made(tmp_path, 1)
    damage(made(tmp_path, 2).path, how)
    told = []
    assert states.newest_good(tmp_path, told.append).optimizer_steps == 1
    assert len(told) == 1 and line in told[0] and told[0].startswith("passed over: ")
    with pytest.raises(UserError, match=line) as caught:
        states.verify(states.read(tmp_path / "step00000002"))
    assert "\n" not in str(caught.value)


def test_what_a_crash_has_left_is_no_state_and_goes(tmp_path):
    made(tmp_path, 1)
    left = states.begin(tmp_path, 2)
    (left / "U-Net.safetensors").write_bytes(b"half")
    assert states.newest_good(tmp_path).optimizer_steps == 1
    states.remove_left(tmp_path)
    assert not left.exists() and states.newest_good(tmp_path).optimizer_steps == 1


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # accelerate's, of one process and of several
def test_read_to_a_process_s_device(tmp_path, device):
    value = parts.read(made(tmp_path, 3).file("a.safetensors"), torch.device(device))
    assert value["weight"].device.type == "cpu" and value["weight"][0] == 3


def test_a_file_that_is_no_part(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="cannot be read.*take an older state"):
        parts.read(tmp_path / "x.safetensors")
    state = made(tmp_path, 1)
    with pytest.raises(UserError, match="has no optimizer-3.safetensors"):
        state.file("optimizer-3.safetensors")
