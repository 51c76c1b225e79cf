"""Runs against each other: curves of one name in one chart, paired differences with an error worked out by hand."""

import math

import pytest

from extensions.base.errors import UserError
from extensions.logbook import registry
from extensions.report import compared, differing, records
from extensions.report.overview import Told
from extensions.report.pages import Site
from extensions.report.planned import Expected
from tests.helpers.run_folders import FLAGS, folder_of, training_line, validation_line


def told(logs, run, x0s, **record) -> Told:
    found = [validation_line(step, x0, x0s[0]) for step, x0 in zip((0, 10, 20), x0s, strict=False)]
    folder_of(logs, run, "20260101T000000Z", [*found, training_line(20, 1)], **record)
    (made,) = records.find(run, logs)
    return Told(made, records.history(made, None), Expected())


def test_the_same_set_and_base_have_the_error_of_their_paired_differences(tmp_path):
    one, other = told(tmp_path, "a", (0.3, 0.28, 0.25)), told(tmp_path, "b", (0.3, 0.27))
    found = compared.validated(one, other)
    assert [row[0] for row in found["rows"]] == ["0", "10"]
    assert found["rows"][1][1:3] == ["0.28000 ± 0.00400", "0.27000 ± 0.00400"]
    assert found["rows"][1][3] == f"+0.01000 ± {math.hypot(0.0007, 0.0007):.5f}"
    assert "same held-out images and base" in found["said"]


def test_another_base_has_that_of_two_sets(tmp_path):
    found = compared.validated(told(tmp_path, "a", (0.3, 0.28)), told(tmp_path, "b", (0.31, 0.27)))
    assert found["rows"][1][3] == f"+0.01000 ± {math.hypot(0.004, 0.004):.5f}" and "another base" in found["said"]


def test_runs_without_a_common_evaluation_have_none(tmp_path):
    folder_of(tmp_path, "b", "20260101T000000Z", [training_line(1, 1)])
    (record,) = records.find("b", tmp_path)
    other = Told(record, records.history(record, None), Expected())
    assert compared.validated(told(tmp_path, "a", (0.3, 0.28)), other) is None


def test_charts_hold_what_at_least_two_have(tmp_path):
    one, other = told(tmp_path, "a", (0.3, 0.28)), told(tmp_path, "b", (0.3, 0.27))
    folder_of(tmp_path, "c", "20260101T000000Z", [training_line(1, 1, mine=3)])
    (record,) = records.find("c", tmp_path)
    made = compared.charts([one, other, Told(record, records.history(record, None), Expected())])
    assert made[0].title.startswith("loss") and [line.name for line in made[0].series] == ["a", "b", "c"]
    titles = [chart.title for chart in made]
    assert "mine" not in titles and "validation: held out/x0" in titles and len(set(titles)) == len(titles)
    assert any(title.endswith("by stratum: -2 to 2") for title in titles)


def test_flags_that_differ_as_recorded_else_as_launched(tmp_path):
    flags = FLAGS | {"learning_rate": "1e-5", "output_dir": "/out/model_out_b"}
    one = told(tmp_path, "a", (0.3,), flags=FLAGS | {"output_dir": "/out/model_out_a"})
    other = told(tmp_path, "b", (0.3,), flags=flags, packages={"torch": "9"})
    found = differing.between(one.record, other.record, ("a", "b"), {})
    assert {(d.name, d.left, d.right) for d in found} == {
        ("learning_rate", "1.5e-06", "1e-5"),
        ("torch", "2.14.1", "9"),
    }
    runs = registry.read_all()
    launched = differing.between(None, None, ("25022501", "25022601"), runs)
    assert launched and differing.between(None, None, ("a", "b"), runs) == []


@pytest.mark.parametrize("count", [0, 1, 7])
def test_too_few_and_too_many_are_refused(tmp_path, count):
    one = told(tmp_path / "logs", "a", (0.3,))
    with pytest.raises(UserError, match="give two to 6"):
        compared.write(Site(tmp_path / "out"), [one] * count, {})
