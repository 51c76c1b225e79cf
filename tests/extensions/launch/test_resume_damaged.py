"""RESUME where the states of a run are damaged: it never begins over them unasked."""

import json
import os
from pathlib import Path

import pytest

from extensions.base.errors import UserError
from extensions.launch import checks, resume
from extensions.launch.stages import Staged, become
from extensions.resume import states
from tests.helpers.resuming import asked, state


def damage(path: Path, how: str) -> None:
    if how == "cut":
        os.truncate(path / "w.safetensors", 5)
    elif how == "flipped":
        content = bytearray((path / "w.safetensors").read_bytes())
        content[-1] ^= 1
        (path / "w.safetensors").write_bytes(content)
    elif how == "without its description":
        (path / "state.json").unlink()
    else:
        (path / "state.json").write_text(how)


WAYS = ["cut", "flipped", "without its description", "{}", "", "[" * 100_000, '{"version": 9}', "\0"]


@pytest.mark.parametrize("how", WAYS, ids=lambda how: how[:30] or "empty")
def test_the_only_state_is_damaged(tmp_path, how):
    path = state(tmp_path, "25031101", 10).path
    damage(path, how)
    before = sorted((file, file.read_bytes()) for file in path.iterdir())
    with pytest.raises(UserError) as caught:
        resume.apply(asked(tmp_path, RESUME="auto"))
    line = str(caught.value)
    assert "\n" not in line and str(path.parent) in line
    assert "put an older state there" in line and "RESUME=parent goes on from 25030802" in line and "FORCE=1" in line
    with pytest.raises(UserError, match="already holds .*; .*FORCE=1"):
        checks.require_output(resume.apply(asked(tmp_path)))
    assert sorted((file, file.read_bytes()) for file in path.iterdir()) == before


def test_without_a_parent_none_is_named(tmp_path):
    damage(state(tmp_path, "25031101", 10).path, "{}")
    damage(state(tmp_path, "25031101", 20).path, "{}")
    with pytest.raises(UserError) as caught:
        resume.apply(asked(tmp_path, RESUME="auto", parent=""))
    assert "RESUME=parent" not in str(caught.value) and "and 1 more" in str(caught.value)


@pytest.mark.parametrize("environment", [{"FORCE": "1"}, {"RESUME": "parent"}])
def test_what_was_chosen_instead_keeps_the_damaged_states_aside(tmp_path, environment):
    damage(state(tmp_path, "25031101", 10).path, "{}")
    state(tmp_path, "25030802", 5)
    resolved = resume.apply(asked(tmp_path, "--initial_step=5", **environment))
    if "RESUME" in environment:
        assert resolved.state.path.parent == states.folder_of(tmp_path / "model_out_25030802")
    staged = resume.set_aside(become(Staged, resolved))
    output = tmp_path / "model_out_25031101"
    (aside,) = output.glob("states-before-*")
    assert (aside / "step00000010" / "state.json").read_text() == "{}" and not (output / "states").exists()
    assert any(str(aside) in note for note in staged.notes)


def test_what_goes_on_from_its_own_state_sets_nothing_aside(tmp_path):
    kept = state(tmp_path, "25031101", 10)
    resolved = resume.apply(asked(tmp_path, RESUME="auto"))
    assert resume.set_aside(become(Staged, resolved)).notes == resolved.notes and kept.path.is_dir()


@pytest.mark.parametrize("environment", [{}, {"RESUME": "auto"}])
def test_states_that_are_a_file(tmp_path, environment):
    output = tmp_path / "model_out_25031101"
    output.mkdir()
    (output / "states").write_text("mine")
    with pytest.raises(UserError, match="states is a file, and training states go into a folder of that name"):
        checks.require_output(resume.apply(asked(tmp_path, **environment)))
    assert (output / "states").read_text() == "mine"


@pytest.mark.parametrize("steps", [-7, 10**12, 11, "10", None, 1.5])
def test_a_step_that_cannot_be(tmp_path, steps):
    path = state(tmp_path, "25031101", 10).path
    content = json.loads((path / "state.json").read_text())
    content.pop("digest")
    (path / "state.json").write_text(json.dumps(content | {"optimizer_steps": steps}))
    with pytest.raises(UserError, match="FORCE=1") as caught:
        resume.apply(asked(tmp_path, RESUME="auto"))
    assert "optimizer_steps is" in str(caught.value) or "is of optimizer step 11" in str(caught.value)
