"""Which trainer a launch uses: never another one than was asked for, and a word where it falls back."""

import pytest

from extensions.base.errors import UserError
from extensions.launch import __main__ as launching
from extensions.launch import command, trainer
from extensions.launch.stages import Resolved
from tests.helpers import asking

MISSING = "sd-scripts/ is empty and could not be fetched (no route); go online once and run: git submodule update"


@pytest.fixture
def offline(monkeypatch):
    def ensure():
        raise UserError(MISSING)

    monkeypatch.setattr(trainer.submodule, "ensure", ensure)


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr(trainer.submodule, "ensure", lambda: None)


def launch(**environment) -> Resolved:
    return asking.resolved(asking.asked("--output_dir=out", **environment))


def test_sd_scripts_is_the_default(online):
    made = trainer.settle(launch(PROFILE="tiny"))
    assert made.trainer == "sd-scripts" and made.notes == ()


def test_a_tiny_run_falls_back_and_says_so_in_two_lines(offline):
    made = trainer.settle(launch(PROFILE="tiny"))
    assert made.trainer == "reference"
    assert len(made.notes) == 2 and not any("\n" in note for note in made.notes)
    assert "no route" in made.notes[0] and "git submodule update --init" in made.notes[1]
    assert trainer.build(made) is None and trainer.location(made) is None
    facts = {"trainer": "reference", "sd_scripts_commit": None, "patch_series_sha256": None}
    assert trainer.identity(made) == facts


def test_a_full_size_run_never_falls_back(offline):
    with pytest.raises(UserError, match="could not be fetched.*TRAINER=reference"):
        trainer.settle(launch())


def test_one_of_several_machines_never_falls_back(offline):
    two = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "a"}
    with pytest.raises(UserError, match="TRAINER=reference on every machine"):
        trainer.settle(launch(PROFILE="tiny", **two))


@pytest.mark.parametrize("chosen", [{"TRAINER": "sd-scripts"}, {"SD_SCRIPTS_REF": "v0.9.1"}])
def test_who_names_sd_scripts_gets_no_other(offline, chosen):
    with pytest.raises(UserError, match="could not be fetched"):
        trainer.settle(launch(PROFILE="tiny", **chosen))


def test_a_tiny_run_that_cannot_have_it_is_refused_before_stand_ins_are_made(offline, monkeypatch):
    made = asking.asked("--output_dir=out", PROFILE="tiny", TRAINER="sd-scripts")
    monkeypatch.setattr(launching.request, "read", lambda _: made)
    monkeypatch.setattr(launching.tiny, "standins", lambda: pytest.fail("stand-ins were made"))
    with pytest.raises(UserError, match="could not be fetched"):
        launching.main(["a launch"])


def test_the_reference_trainer_asked_for_by_name_needs_no_upstream(offline):
    made = trainer.settle(launch(TRAINER="reference"))
    assert made.trainer == "reference" and made.notes == ()


def test_an_upstream_commit_for_the_reference_trainer_is_refused():
    with pytest.raises(UserError, match="SD_SCRIPTS_REF=v0.9.1 has no effect"):
        launch(TRAINER="reference", SD_SCRIPTS_REF="v0.9.1")


def test_the_command_names_the_trainers_module(tmp_path):
    made = launch(PROFILE="tiny")
    assert command.build(made, tmp_path)[1:5] == ["-m", "extensions.upstream", str(tmp_path), "sdxl_train.py"]
    assert command.build(made, None)[1:4] == ["-m", "extensions.reference", "sdxl_train.py"]
