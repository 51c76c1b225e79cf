"""The trainer is asked before gigabytes are copied: what it says, and that nothing else happens before."""

import pytest

from extensions.base.errors import UserError
from extensions.launch import __main__ as launch
from extensions.launch import checks, command, ramdisk, resume, trial
from extensions.launch.stages import Asked, changed
from extensions.upstream import tree
from tests.helpers import asking

DATA = "--dataset_class=extensions.data.dataset.LatentsDataset"
PLUGINS = "--extensions=token_chunks,resume_at_step,save_states,record_run"
TRAINERS = ("reference", pytest.param("sd-scripts", marks=pytest.mark.upstream))


def asked(folder, *more, trainer="reference") -> Asked:
    """A launch at full size with RAMDISK=1. None of its inputs is there."""
    words = [
        f"--pretrained_model_name_or_path={folder / 'base.safetensors'}",
        f"--in_json={folder / 'meta.json'}", f"--train_data_dir={folder / 'latents'}",
        f"--output_dir={folder / 'out'}", "--mixed_precision=bf16", DATA, PLUGINS, *more,
    ]  # fmt: skip
    return asking.asked(*words, facts=("RAMDISK=1",), TRAINER=trainer, CPU="1")


def check(made) -> None:
    trial.check(made, None if made.trainer == "reference" else tree.ensure())


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--max_token_length=225", "--max_token_length and --token_chunks=a1111 exclude each other"),
        ("--learning_rat=1e-6", "unknown flag --learning_rat; did you mean --learning_rate?"),
        ("--optimizer_args=eps=0,", "--optimizer_type=AdamW eps=0,"),
    ],
)
def test_what_the_trainer_refuses_is_its_own_line(trainer, flag, message, tmp_path):
    with pytest.raises(UserError) as error:
        check(asked(tmp_path, flag, trainer=trainer))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_it_takes_passes_and_leaves_nothing(trainer, tmp_path, capfd):
    check(asked(tmp_path, "--stop_at_step=5", trainer=trainer))
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_the_state_of_several_processes_is_not_compared_by_one(tmp_path):
    check(asked(tmp_path, "--resume_mode=exact", f"--resume_from={tmp_path / 'state'}", "--resume_allow=code"))


def test_a_trainer_that_cannot_start_shows_why(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "trainer", lambda *_, **__: ["-c", "raise OSError('libc is gone')"])
    with pytest.raises(UserError, match=r"reference cannot be started \(exit code 1\)"):
        check(asked(tmp_path))
    assert "libc is gone" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["24122001", "25022301", "25022601", "25031401"])
def test_launchers_as_they_stand_are_taken(name):
    """SD2, ZeRO with Dynamo, the usual, a segment of the production run."""
    from extensions.plan import plan

    check(changed(plan.read(name, {"TRAINER": "reference"}).asked, cpu=True))


def test_nothing_is_staged_for_flags_that_are_refused(tmp_path, monkeypatch):
    made = asked(tmp_path, "--max_token_length=225")
    monkeypatch.setattr(checks, "check", lambda _: None)
    monkeypatch.setattr(ramdisk, "stage", lambda *_: pytest.fail("staged"))
    monkeypatch.setattr(resume, "set_aside", lambda _: pytest.fail("moved"))
    with pytest.raises(UserError, match="--max_token_length and --token_chunks=a1111 exclude each other"):
        launch.launch(made, ())


def test_a_plan_without_sd_scripts_fetches_nothing_and_says_that_nobody_was_asked(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("extensions.upstream.submodule.is_present", lambda: False)
    monkeypatch.setattr("extensions.upstream.submodule.ensure", lambda: pytest.fail("fetched"))
    trial.of_plan(asked(tmp_path, "--max_token_length=225", trainer="sd-scripts"))
    assert capsys.readouterr().out.startswith("flags: not shown to the trainer: sd-scripts is not here yet")
    with pytest.raises(UserError, match="exclude each other"):
        trial.of_plan(asked(tmp_path, "--max_token_length=225"))
