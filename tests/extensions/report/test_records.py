"""Which folders are a run's launches, and how they are joined: a later one wins from its first optimizer step on."""

import numpy as np
import pytest

from extensions.base.errors import UserError
from extensions.report import records
from tests.helpers.run_folders import folder_of, lines, logbook, training_line, validation_line


def loss_steps(history) -> list[int]:
    curve = history.curves["loss"]
    assert (curve.count == 1).all()
    return curve.bins.tolist()


def one(logs, run="r"):
    (record,) = records.find(run, logs)
    return record, records.history(record, None)


def test_launches_are_one_history(tmp_path):
    folder_of(tmp_path, "r", "20260101T000000Z", [training_line(s, 1) for s in range(1, 51)])
    folder_of(tmp_path, "r", "20260102T000000Z", [training_line(s, 2) for s in range(41, 81)])
    folder_of(tmp_path, "r", "20260103T000000Z", [training_line(s, 3) for s in range(61, 71)])
    record, history = one(tmp_path)
    assert loss_steps(history) == list(range(1, 71))
    means = history.curves["loss"].means()
    assert np.array_equal(means, [1] * 40 + [2] * 20 + [3] * 10)
    assert [launch.cuts.get("") for launch in record.launches] == [41, 61, None]


def test_a_launch_that_came_to_no_step_wins_nothing(tmp_path):
    folder_of(tmp_path, "r", "20260101T000000Z", lines(1, 20))
    folder_of(tmp_path, "r", "20260102T000000Z", [], exit_code=2)
    record, history = one(tmp_path)
    assert loss_steps(history) == list(range(1, 21)) and record.manifest.exit_code == 0


def test_validation_of_a_life_that_was_rolled_back_goes(tmp_path):
    first = [training_line(s, 1) for s in range(1, 51)] + [validation_line(s, 0.5, 0.5) for s in (20, 40, 50)]
    folder_of(tmp_path, "r", "20260101T000000Z", first)
    folder_of(tmp_path, "r", "20260102T000000Z", [validation_line(40, 0.1, 0.5), training_line(41, 2)])
    _, history = one(tmp_path)
    curve = history.curves["validation/held_out/x0"]
    assert dict(zip(curve.bins.tolist(), curve.means().tolist(), strict=True)) == {20: 0.5, 40: 0.1}
    assert loss_steps(history) == list(range(1, 42)), "the training's own line at step 40 counts"


def test_order_is_that_of_the_names_with_numbers_as_numbers(tmp_path):
    for name in ("20260101T000000Z-10", "20260101T000000Z-2", "20260101T000000Z"):
        folder_of(tmp_path, "r", name, [])
    record, _ = one(tmp_path)
    assert [launch.folder.name[16:] for launch in record.launches] == ["", "-2", "-10"]


def test_a_tiny_run_and_its_full_size_run_are_two(tmp_path):
    logs = logbook(tmp_path / "logs")
    found = {record.key: record for record in records.find_all(logs)}
    assert {"25022601", "25022601 (tiny)"} <= found.keys() and len(found) == 10
    assert len(found["25022601"].launches) == 2 and len(found["25022601 (tiny)"].launches) == 1


def test_other_machines_and_damaged_records(tmp_path):
    folder_of(tmp_path, "r", "20260101T000000Z", lines(1, 5))
    folder_of(tmp_path, "r", "20260101T000000Z-node1", [], machines={"count": 2, "rank": 1})
    bad = folder_of(tmp_path, "r", "20260102T000000Z", lines(6, 9))
    (bad / "manifest.json").write_text("{")
    record, history = one(tmp_path)
    assert len(record.launches) == 2 and "not the record of a run" in record.launches[1].damage
    assert loss_steps(history) == list(range(1, 10))


def test_a_run_is_found_by_number_name_or_path(tmp_path):
    folder = folder_of(tmp_path / "logs", "r1", "20260101T000000Z", lines(1, 5))
    logs, elsewhere = tmp_path / "logs", tmp_path / "nowhere"
    for name in ("r1", "model_out_r1"):
        assert records.find(name, logs)[0].launches[0].folder == folder
    assert records.find(str(folder), elsewhere)[0].run == "r1"
    assert records.find(str(folder.parent), elsewhere)[0].key == "r1"


@pytest.mark.parametrize(
    "name", ["", "r2", "../logs", "/", ".", "a\nb", "x" * 300, "/" + "x" * 300, "a/" * 3000, "~x/"]
)
def test_what_is_no_run_is_one_line(tmp_path, name):
    folder_of(tmp_path / "logs", "r1", "20260101T000000Z", [])
    with pytest.raises(UserError) as said:
        records.find(name, tmp_path / "logs")
    assert "\n" not in str(said.value)


def test_a_folder_without_any_record_has_no_runs(tmp_path):
    (tmp_path / "r").mkdir()
    assert records.find_all(tmp_path) == [] == records.find_all(tmp_path / "none")
