"""Which ratio beats both ends is said of the images' own differences, and not said where it may be chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.evaluation import along
from extensions.evaluation.along import BEATS, NONE, UNSURE, Point


@pytest.mark.parametrize(
    ("text", "ratios"),
    [
        ("0:1:0.1", [number / 10 for number in range(11)]),
        ("0:1:0.25", [0, 0.25, 0.5, 0.75, 1]),
        ("0.4:0.6:0.1", [0, 0.4, 0.5, 0.6, 1]),
        ("0.3, 0.7,1", [0, 0.3, 0.7, 1]),
        ("0.5", [0, 0.5, 1]),
        ("0:0.35:0.1", [0, 0.1, 0.2, 0.3, 1]),
    ],
)
def test_ratios(text, ratios):
    assert along.ratios_of(text) == ratios


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "0:1",
        "0:1:0",
        "0:1:-0.1",
        "1:0:0.1",
        "0:2:0.5",
        "-1,0",
        "nan",
        "inf",
        "0:1:1e-9",
        "0:1:0.1:2",
        "0,,1",
    ],
)
def test_what_are_no_ratios(text):
    with pytest.raises(UserError, match="is neither FIRST:LAST:STEP nor ratios"):
        along.ratios_of(text)


def test_too_many_ratios():
    with pytest.raises(UserError, match="are 201 ratios; give at most 101"):
        along.ratios_of("0:1:0.005")


def points(*rows) -> list[Point]:
    return [Point(number / (len(rows) - 1), np.array(row, float)) for number, row in enumerate(rows)]


SPREAD = np.array([0.1, 0.5, 0.9, 0.2])  # of the images: far larger than what sets the blends apart


def test_a_dip_that_every_image_shows_beats_both_ends():
    found = points(SPREAD + 0.010, SPREAD + np.array([0, 0.001, 0, 0.001]), SPREAD + 0.005)
    assert along.verdict(found) == (BEATS, found[1])
    assert along.told(found, "base", "end").startswith(
        "RATIO=0.5 beats both ends: error of x_0 0.42550, 0.00950 ± 0.00029 below base, 0.00450 ± 0.00029 below end"
    )


def test_a_dip_of_one_image_is_not_sure():
    found = points(SPREAD, SPREAD - np.array([0.01, 0, 0, 0]), SPREAD)
    assert along.verdict(found) == (UNSURE, found[1])
    assert "no ratio beats both ends beyond twice the error, ask about more images" in along.told(found, "a", "b")


def test_one_image_is_never_sure():
    assert along.verdict(points([0.2], [0.1], [0.2]))[0] == UNSURE


def test_an_end_that_is_best():
    found = points(SPREAD + 0.02, SPREAD + 0.01, SPREAD)
    assert along.verdict(found) == (NONE, found[2])
    assert along.told(found, "base", "end") == "no ratio beats both ends: end has the least error of x_0"


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=3, max_size=6))
def test_whoever_beats_both_ends_has_a_lower_mean_than_each(rows):
    found = points(*rows)
    said, best = along.verdict(found)
    assert best.mean == min(point.mean for point in found)
    if said == BEATS:
        assert best.mean < min(found[0].mean, found[-1].mean)
