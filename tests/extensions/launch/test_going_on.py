"""The line that says how to go on: a shell reads it, it says the same again, and it is not what has just failed."""

import shlex

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from extensions.flags.words import Flags
from extensions.launch import going_on
from extensions.resume import states
from tests.helpers import asking

KILLED, FAILED, REFUSED, NAN = 137, 1, 2, 76
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


def words_of(line: str) -> dict[str, str]:
    """What a shell makes of the line."""
    make, train, *words = shlex.split(line, comments=True)
    assert (make, train) == ("make", "train")
    return dict(word.split("=", 1) for word in words)


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / 'it\'s "ours" $(now)'
    folder.mkdir()
    return folder


def asked(output, *more, **environment):
    return asking.asked("--extensions=record_run", f"--output_dir={output}", *more, **environment)


def checkpoint(output, **metadata):
    path = output / "at-step00000004.safetensors"
    save_file({"a": torch.zeros(1)}, path, {f"sdxl_trainer.{key}": value for key, value in metadata.items()})
    return path


def with_state(monkeypatch, output):
    monkeypatch.setattr(states, "found", lambda folder: ([object()], []))


def test_from_the_newest_checkpoint_in_a_folder_with_quotes(output):
    path = checkpoint(output, optimizer_steps="4")
    found = words_of(going_on.line(asked(output, ARGS="--seed=3"), KILLED))
    flags = Flags.of_text(found["ARGS"]).as_dict()
    assert found["FORCE"] == "1" and flags["pretrained_model_name_or_path"] == str(path)
    assert flags["initial_step"] == "4" and flags["skip_until_initial_step"] is True and flags["seed"] == "3"
    assert flags["extensions"] == "record_run,resume_at_step"


def test_a_checkpoint_that_does_not_say_its_step(output):
    checkpoint(output)
    assert words_of(going_on.line(asked(output), KILLED)) == {"RUN": "25022601", "FORCE": "1"}


def test_what_the_caller_chose_is_repeated(output):
    two = {"NNODES": "2", "MASTER_ADDR": "a", "PROFILE": "tiny", "TRAINER": "reference", "GPUS": "3"}
    first = asking.asked(f"--output_dir={output}", facts=("GPUS=3",), NODE_RANK="0", **two)
    found = words_of(going_on.line(first, KILLED))
    assert found == {"RUN": "25022601", **two, "NODE_RANK": "0", "MASTER_PORT": "29500"}
    second = asking.asked(f"--output_dir={output}", facts=("GPUS=3",), NODE_RANK="1", **two)
    assert "NODE_RANK=1" in going_on.line(second, KILLED)


@given(text=TEXTS)
def test_args_come_back_as_they_were(text):
    made = asking.asked("--output_dir=nowhere/at all", ARGS=shlex.join([f"--log_prefix={text}"]))
    assert Flags.of_text(words_of(going_on.line(made, KILLED))["ARGS"]) == made.extra


@pytest.mark.parametrize(
    ("code", "has_state", "repeats"),
    [
        (KILLED, False, False), (KILLED, True, False), (FAILED, True, False), (FAILED, False, True),
        (REFUSED, False, True), (REFUSED, True, True), (75, True, False), (130, False, False),
    ],
)  # fmt: skip
def test_what_would_end_the_same_way_says_so(output, monkeypatch, code, has_state, repeats):
    if has_state:
        with_state(monkeypatch, output)
    said = going_on.line(asked(output), code)
    assert ("ends the same way until" in said) == repeats
    assert words_of(said) == {"RUN": "25022601"} | ({"RESUME": "auto"} if has_state else {})


def test_after_nan_the_same_steps_are_not_repeated(output, monkeypatch):
    with_state(monkeypatch, output)
    found = words_of(going_on.line(asked(output, ARGS="--seed=3"), NAN))
    assert found["RESUME"] == "auto" and found["ARGS"] == "--seed=3 --on_nan=rollback"
    assert "ends the same way" in going_on.line(asked(output, "--on_nan=rollback"), NAN)
