"""What stands as marks on a run's curves, from what launches and plugins leave in run folders."""

import json

import pytest

from extensions.plugins import bad_sample
from extensions.report import marks, records
from extensions.report.marks import CORRUPT, MISSING, RESUME, ROLLBACK
from tests.helpers.run_folders import folder_of, lines, training_line


def marked(logs):
    (record,) = records.find("r", logs)
    return [(mark.step, mark.kind) for mark in marks.of(records.history(record, None))]


def test_the_list_is_the_one_that_is_written():
    assert marks.LIST == bad_sample.LIST


def test_a_roll_back_and_what_goes_on(tmp_path):
    back = folder_of(tmp_path, "r", "20260101T000000Z", lines(1, 50), exit_code=76)
    (back / "rollback.json").write_text(json.dumps({"optimizer_step": 51, "samples": ["a"] * 9, "state": "/s"}))
    folder_of(tmp_path, "r", "20260102T000000Z", lines(41, 80))
    assert marked(tmp_path) == [(41, RESUME), (51, ROLLBACK)]


def test_an_end_by_nan_without_a_roll_back(tmp_path):
    folder_of(tmp_path, "r", "20260101T000000Z", [training_line(1, 1), training_line(2, float("nan"))], exit_code=76)
    assert marked(tmp_path) == [(2, MISSING), (None, MISSING)]


def test_corrupt_samples_stand_at_the_step_that_the_log_shows(tmp_path):
    folder = folder_of(tmp_path, "r", "20260101T000000Z", lines(1, 9))
    (folder / "bad_samples.txt").write_text('a\n"b\\u001b"\n')
    assert marked(tmp_path) == [(None, CORRUPT)]
    (folder / "train.log").write_text("steps: 7/9 [0]\nbad_sample: skipped 'a' (process 0): x\n")
    assert marked(tmp_path) == [(7, CORRUPT)]


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"optimizer_step": 1}', "[" * 10**5, '{"samples": 3}'])
def test_a_damaged_request_is_said(tmp_path, text):
    folder = folder_of(tmp_path, "r", "20260101T000000Z", lines(1, 9), exit_code=76)
    (folder / "rollback.json").write_text(text)
    assert marked(tmp_path) == [(None, ROLLBACK)]
