"""Two runs image by image: against the formula of a paired difference, and what is no pair."""

import math

import numpy as np

from extensions.evaluation import record
from extensions.report import compared, paired, records
from extensions.report.overview import Told
from extensions.report.planned import Expected
from tests.helpers.run_folders import FLAGS, folder_of, validation_line

ERRORS = {"a": [0.3, 0.5, 0.1, 0.4], "b": [0.25, 0.46, 0.08, 0.37]}


def told(tmp_path, run: str, asked: str = "same", steps=(0, 10)) -> Told:
    output = tmp_path / f"model_out_{run}"
    output.mkdir()
    for step in steps:
        record.append(output, record.Evaluation(step, asked, ERRORS[run]))
    x0 = float(np.mean(ERRORS[run]))
    flags = FLAGS | {"output_dir": str(output)}
    folder_of(tmp_path / "logs", run, "20260101T000000Z", [validation_line(step, x0, 0.5) for step in (0, 10)],
              flags=flags)  # fmt: skip
    (made,) = records.find(run, tmp_path / "logs")
    return Told(made, records.history(made, None), Expected())


def test_each_image_is_its_own_pair(tmp_path):
    one, other = told(tmp_path, "a"), told(tmp_path, "b")
    found = paired.differences(one.record, other.record)
    differences = [0.05, 0.04, 0.02, 0.03]
    mean = sum(differences) / 4
    error = math.sqrt(sum((value - mean) ** 2 for value in differences) / 3 / 4)
    assert found.keys() == {0, 10}
    assert math.isclose(found[10]["x0"], mean) and math.isclose(found[10]["error"], error)
    page = compared.validated(one, other)
    assert page["rows"][1][3] == f"+{mean:.5f} ± {error:.5f}" and "each image's own errors" in page["said"]


def test_other_questions_and_missing_files_are_no_pair(tmp_path):
    one, other = told(tmp_path, "a"), told(tmp_path, "b", asked="other")
    assert paired.differences(one.record, other.record) == {}
    assert "each image's own errors" not in compared.validated(one, other)["said"]
    (tmp_path / "model_out_a" / record.FILE).unlink()
    assert paired.evaluations(one.record) == {}


def test_a_step_without_a_pair_leaves_the_figures_of_the_metrics(tmp_path):
    one, other = told(tmp_path, "a"), told(tmp_path, "b", steps=(0,))
    assert paired.differences(one.record, other.record).keys() == {0}
    assert "each image's own errors" not in compared.validated(one, other)["said"]
