"""Charts: well-formed SVG in the reader's theme whatever the names, drawn once, with every peak of the curve."""

from xml.etree import ElementTree

import numpy as np
import pytest

from extensions.report import charts
from extensions.report.charts import Chart, Series
from extensions.report.curves import Curve
from extensions.report.marks import KINDS
from tests.helpers.run_folders import HOSTILE


def curve(count: int, peak: int | None = None) -> Curve:
    values = np.sin(np.arange(count) / 50)
    if peak is not None:
        values[peak] = 100
    made = Curve()
    made.add(np.arange(count), values)
    return made


@pytest.mark.parametrize("name", [HOSTILE, "_a", "$x", "\0", "]]>", "&amp;", "\ud800", "", "x" * 500])
@pytest.mark.parametrize("count", [1, 30, 5000])
def test_any_name_makes_a_picture(name, count):
    drawn = charts.drawn(
        Chart(name, (Series(name, curve(count)), Series("b", curve(9))), level=(0.5, name), unit=name)
    )
    ElementTree.fromstring(drawn)
    assert "<script" not in drawn and "href=" not in drawn.replace('xlink:href="#', "")


def test_nothing_in_it_is_elsewhere_and_both_themes_are():
    drawn = charts.drawn(Chart("a", (Series("a", curve(300)),), marks=tuple((9, kind) for kind in KINDS)))
    addresses = {part.split('"')[0] for part in drawn.split('"http')[1:]}
    assert addresses <= {"://www.w3.org/2000/svg", "://www.w3.org/1999/xlink"}
    assert "prefers-color-scheme:dark" in drawn and "var(--ink)" in drawn
    assert not any(stand_in in drawn for stand_in in (charts.INK, charts.GRID, charts.PAPER))


def test_one_value_of_a_long_curve_stands_out():
    def height(made: Curve) -> float:
        root = ElementTree.fromstring(charts.drawn(Chart("a", (Series("a", made),), smooth=True, size=charts.WIDE)))
        ticks = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
        return max(float(text) for text in ticks if text and text.replace(".", "").isdigit())

    assert height(curve(700_000, peak=123_456)) > 50  # the axis goes on to its height


def test_what_is_there_is_not_drawn_again(tmp_path, monkeypatch):
    chart = Chart("a", (Series("a", curve(9)),))
    name = charts.write(chart, tmp_path)
    monkeypatch.setattr(charts, "drawn", None)
    assert charts.write(Chart("a", (Series("a", curve(9)),)), tmp_path) == name
    others = [
        Chart("b", chart.series),
        Chart("a", (Series("a", curve(10)),)),
        Chart("a", chart.series, marks=((1, "resume"),)),
    ]
    assert len({each.name for each in (*others, chart)}) == 4


def test_the_same_chart_is_the_same_file():
    chart = Chart("a", (Series("a", curve(500)),))
    assert charts.drawn(chart) == charts.drawn(chart)


def contrast(one: str, other: str) -> float:
    """WCAG's, of two colours #rrggbb."""

    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_lines_stand_out_from_dark_and_light():
    """Each colour from both; what is less than three to one has dashes of its own and a name in the legend."""
    for colour in charts.COLOURS:
        assert contrast(colour, "#16191c") > 3 and contrast(colour, "#ffffff") > 2
    assert len(set(charts.COLOURS[:6])) == 6 and len({str(dash) for dash in charts.DASHES}) == 4


def test_lines_with_an_order_go_through_viridis():
    colours = [charts.colour_of(Series("a", curve(1), None, (i, 5)), 0) for i in range(5)]
    greens = [int(colour[3:5], 16) for colour in colours]
    assert greens == sorted(greens) and len(set(colours)) == 5


def test_the_table_has_the_means_of_all():
    rows = charts.table([Series("a", curve(3)), Series("b", curve(2))])
    assert rows[2] == ["2", f"{np.sin(2 / 50):.5g}", ""]
    long = charts.table([Series("a", curve(5000))])
    assert len(long) <= charts.ROWS and long[0][0].startswith("0 to ")
