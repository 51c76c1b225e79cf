"""Which curves stand in one chart."""

import json

from extensions.report import grouped, marks, records
from tests.helpers.run_folders import STRATA, folder_of, lines, training_line


def charts(tmp_path, found, levels=None):
    folder_of(tmp_path, "r", "20260101T000000Z", found)
    (record,) = records.find("r", tmp_path)
    history = records.history(record, None)
    made = grouped.charts(history, marks.of(history), levels or {})
    return {chart.title: chart for chart in made}, [chart.title for chart in made]


def test_known_figures_first_and_every_number_once(tmp_path):
    found, order = charts(tmp_path, lines(1, 100, every=50), {"images_per_second": (2.0, "planned")})
    assert order[0].startswith("loss") and order.index("validation: x0") < order.index("validation: loss")
    assert [one.name for one in found["learning rate"].series] == ["U-Net", "text encoder 1", "text encoder 2"]
    assert [one.name for one in found["validation: x0"].series] == ["held_out", "training"]
    assert all(one.error is not None for one in found["validation: x0"].series)
    assert [one.name for one in found["validation: held out"].series] == ["tags", "caption", "empty"]
    strata = found["validation: held out/x0 by stratum"].series
    assert [one.name for one in strata] == STRATA and [one.ordered for one in strata] == [(0, 3), (1, 3), (2, 3)]
    assert found["speed, mean since the launch"].level == (2.0, "planned")
    drawn = [id(one.curve) for chart in found.values() for one in chart.series]
    assert len(drawn) == len(set(drawn))
    assert not any("micro_step" in title or "samples" in title for title in order)


def test_more_lines_than_colours_are_several_charts(tmp_path):
    many = {f"model {i}": 0.1 for i in range(14)}
    folder_of(tmp_path, "r", "20260101T000000Z", [training_line(1, 1) | {"lr": many}])
    (record,) = records.find("r", tmp_path)
    made = grouped.charts(records.history(record, None), [], {})
    assert [len(chart.series) for chart in made if chart.title == "learning rate"] == [6, 6, 2]


def test_figures_of_a_plugin_of_ones_own(tmp_path):
    line = json.loads('{"optimizer_step": 1, "mine": {"deep": {"a": 1, "b": 2}, "list": [1, 2]}}')
    _, order = charts(tmp_path, [training_line(1, 1), line])
    assert "mine: deep" in order and "mine: list" in order
