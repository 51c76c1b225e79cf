"""RESUME: which state a launch goes on from, and every reason why it does not."""

import json
import os
from pathlib import Path

import pytest

from extensions.base.errors import UserError
from extensions.launch import checks, resume
from extensions.resume import skipped, states
from tests.helpers import asking
from tests.helpers.resuming import asked, state


def test_the_newest_good_state_of_the_run_itself(tmp_path):
    for steps in (10, 20, 30):
        newest = state(tmp_path, "25031101", steps)
    (newest.path / "w.safetensors").write_bytes(b"")
    made = resume.apply(
        asked(tmp_path, "--initial_step=5", "--skip_until_initial_step", "--stop_at_step=40", RESUME="auto")
    )
    flags = made.flags
    assert flags.get("resume_mode") == "exact" and Path(flags.get("resume_from")).name == "step00000020"
    assert "initial_step" not in flags and "skip_until_initial_step" not in flags and made.resumed
    assert any("passed over" in note and "step00000030" in note for note in made.notes)
    assert any("resuming at optimizer step 20" in note for note in made.notes)


def test_without_a_state_it_starts_as_launched_and_says_so(tmp_path):
    before = asked(tmp_path, "--initial_step=5", RESUME="auto")
    made = resume.apply(before)
    assert made.flags == before.flags and made.state is None and not made.resumed
    assert "; starting as launched" in made.notes[0]


def test_a_segment_goes_on_from_its_parent_until_it_has_states_of_its_own(tmp_path):
    state(tmp_path, "25030802", 10)
    state(tmp_path, "25030802", 12)  # its newest, but not where this segment begins
    made = resume.apply(asked(tmp_path, "--initial_step=10", RESUME="parent"))
    assert made.flags.get("resume_from").endswith("model_out_25030802/states/step00000010")
    state(tmp_path, "25031101", 15)
    made = resume.apply(asked(tmp_path, "--initial_step=10", RESUME="parent"))
    assert made.flags.get("resume_from").endswith("model_out_25031101/states/step00000015")


@pytest.mark.parametrize(
    ("more", "words", "line"),
    [
        ({}, ["--initial_step=10"], "25030802 has left no .*step00000010; run it first"),
        ({"parent": ""}, [], "names no PARENT"),
        ({}, ["--extensions=resume_at_step"], "needs save_states in --extensions"),
    ],
)
def test_refused(tmp_path, more, words, line):
    made = asked(tmp_path, *words, RESUME="parent", **more)
    with pytest.raises(UserError, match=line) as caught:
        resume.apply(made)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "line"),
    [(dict(RESUME="yes"), "RESUME=yes is unknown"), (dict(RESUME="auto", FORCE="1"), "give one of them")],
)
def test_words_that_make_no_sense(tmp_path, environment, line):
    with pytest.raises(UserError, match=line):
        asked(tmp_path, **environment)


@pytest.mark.parametrize("flag", ["--stop_at_step=20", "--max_train_steps=20"])
def test_a_run_that_is_complete(tmp_path, flag):
    output = state(tmp_path, "25031101", 20).path.parent.parent
    (output / "last.safetensors").touch()
    with pytest.raises(UserError, match="is at optimizer step 20, the run ends at 20: it is complete"):
        resume.apply(asked(tmp_path, flag, RESUME="auto"))


def test_a_run_at_its_end_that_left_no_last_checkpoint_goes_on_to_write_it(tmp_path):
    output = state(tmp_path, "25031101", 20).path.parent.parent
    (output / "last.safetensors").touch()
    os.utime(output / "last.safetensors", (0, 0))  # an earlier life's
    made = resume.apply(asked(tmp_path, "--stop_at_step=20", RESUME="auto"))
    assert made.resumed and any("has left no checkpoint 'last'" in note for note in made.notes)
    with pytest.raises(UserError, match="the run ends at 19: it is complete"):
        resume.apply(asked(tmp_path, "--stop_at_step=19", RESUME="auto"))


def test_a_state_given_by_flag_is_verified_before_anything_starts(tmp_path):
    given = state(tmp_path, "25031101", 20)
    made = resume.apply(asked(tmp_path, f"--resume_from={given.path}"))
    assert made.resumed
    (given.path / "w.safetensors").write_bytes(b"x" * (given.path / "w.safetensors").stat().st_size)
    with pytest.raises(UserError, match="is damaged"):
        resume.apply(asked(tmp_path, f"--resume_from={given.path}"))


def test_a_rollback_goes_on_from_the_state_that_was_named(tmp_path, capsys):
    named = state(tmp_path, "25031101", 20)
    made = asking.staged(asked(tmp_path))
    assert resume.rolled_back(made, tmp_path) is None
    asks = {"optimizer_step": 24, "samples": ["a", "b"], "state": str(named.path)}
    (tmp_path / skipped.REQUEST).write_text(json.dumps(asks))
    again = resume.rolled_back(made, tmp_path)
    assert again.flags.get("resume_from") == str(named.path) and "resume_from" not in made.flags
    assert "rolling back: optimizer step 24 was not finite" in capsys.readouterr().out


def test_an_output_with_a_model_may_be_gone_on_with(tmp_path):
    state(tmp_path, "25031101", 20)
    (tmp_path / "model_out_25031101" / "at-step00000020.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="RESUME=auto goes on, FORCE=1 writes over it"):
        checks.require_output(resume.apply(asked(tmp_path)))
    made = resume.apply(asked(tmp_path, RESUME="auto"))
    checks.require_output(made)


def test_states_alone_are_not_trained_over_either(tmp_path):
    state(tmp_path, "25031101", 9000)
    with pytest.raises(
        UserError, match="already holds a training state of optimizer step 9,000; RESUME=auto goes on"
    ):
        checks.require_output(resume.apply(asked(tmp_path)))
    checks.require_output(resume.apply(asked(tmp_path, FORCE="1")))


def test_a_run_that_begins_anew_sets_the_states_of_before_aside(tmp_path):
    output = state(tmp_path, "25031101", 20).path.parent.parent
    made = resume.apply(asked(tmp_path, RESUME="auto"))
    assert resume.set_aside(made) is made
    assert states.found(states.folder_of(output))[0], "a run that goes on needs them"
    made = resume.apply(asked(tmp_path, FORCE="1"))
    (states.folder_of(output) / ".step00000021.part").mkdir()  # half a state, of a kill
    made = resume.set_aside(made)
    (aside,) = output.glob("states-before-*")
    assert states.read(aside / states.name_of(20)) and str(aside) in made.notes[0]
    assert [path.name for path in aside.iterdir()] == [states.name_of(20)]
    assert states.newest_good(states.folder_of(output)) is None
    assert resume.set_aside(made) is made
