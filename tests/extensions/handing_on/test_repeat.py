"""The command that trains a run once more; that it does, to the last bit: tests/end_to_end/test_handed_on.py."""

import pytest

from extensions.handing_on import repeat
from extensions.report import records
from tests.helpers.run_folders import folder_of, lines

RUN = "25022601"
PLACES = {
    "in_json": "/data/meta.json",
    "output_dir": "/data/out",
    "run_folder": "/logs/x",
    "logging_dir": "/logs/x/t",
}


@pytest.fixture
def again(tmp_path):
    """Record a launch; how it is repeated."""

    def of(run: str = RUN, **record) -> repeat.Repeat:
        folder_of(tmp_path, run, "20260301T100000Z", lines(1, 3), **record)
        return repeat.of(records.records_in(tmp_path / run)[0])

    return of


def test_the_command_is_the_launchers_with_what_was_asked_otherwise(again):
    flags = PLACES | {"learning_rate": "9e-9", "optimizer_args": ["a=1", "b=2"], "seed": "7"}
    found = again(flags=flags, processes=2, hardware={"gpus": ["RTX 3090"]}, trainer="sd-scripts")
    assert found.command.startswith(f"make train RUN={RUN} GPUS=2 ARGS=")
    assert "--learning_rate=9e-9 --optimizer_args a=1 b=2 --seed=7" in found.command
    assert "--output_dir=/data/out-repeated" in found.command and "/logs/x" not in found.command
    assert f"train/{RUN}.sh has --max_train_epochs now, which the run had not" in found.why_not


def test_what_was_read_from_memory_is_read_from_its_disk(again):
    found = again(flags=PLACES | {"in_json": "/dev/shm/meta.json"}, ramdisk={"in_json": "/data/meta.json"})
    assert "--in_json=/data/meta.json" in found.command and "/dev/shm" not in found.command


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"trainer": "reference"}, " TRAINER=reference "),
        ({"hardware": {"gpus": []}}, " CPU=1 "),
        ({"trainer": "sd-scripts", "sd_scripts_commit": "1" * 40}, f" SD_SCRIPTS_REF={'1' * 40} "),
        ({"processes": 8, "machines": {"count": 2, "rank": 0}}, " GPUS=4 NNODES=2 NODE_RANK=0 "),
    ],
)
def test_what_was_asked_besides_flags_is_asked_again(again, record, words):
    assert words in again(**record).command + " "


def test_a_segment_that_went_on_from_its_parents_state_does_so_again(again):
    flags = PLACES | {"resume_from": "/x/step00010000", "resume_mode": "exact"}
    found = again("25031101", parent="25030802", flags=flags)
    assert "RESUME=parent" in found.command and "resume_" not in found.command
    assert not [why for why in found.why_not if "initial_step" in why]


def test_of_several_launches_the_first_that_trained_is_repeated(again, tmp_path):
    folder_of(tmp_path, RUN, "20260228T100000Z", [], flags=PLACES | {"seed": "1"})
    folder_of(tmp_path, RUN, "20260302T100000Z", lines(4, 5), flags=PLACES | {"seed": "3"})
    assert "--seed=2" in again(flags=PLACES | {"seed": "2"}).command


def test_a_run_without_a_launcher_has_no_command(again):
    assert again("mine") == repeat.Repeat("", ("there is no train/mine.sh",))


def test_a_damaged_record_has_no_command_but_a_reason(again):
    found = again(flags=PLACES | {"optimizer_args": {"a": 1}}, processes=0)
    assert found.command or found.why_not
