"""Means and errors against the standard library's."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.evaluation import figures

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40)


@given(values=VALUES)
def test_mean_and_standard_error_are_the_standard_librarys(values):
    assert figures.mean(np.array(values)) == pytest.approx(statistics.fmean(values), rel=1e-12, abs=1e-12)
    wanted = statistics.stdev(values) / math.sqrt(len(values))
    assert figures.standard_error(np.array(values)) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@given(values=VALUES)
def test_the_mean_does_not_depend_on_the_order(values):
    assert figures.mean(np.array(values)) == figures.mean(np.array(values[::-1]))


def test_what_images_share_falls_out_of_a_paired_difference():
    """Errors that differ by 100 between images and by 0.01 between steps."""
    images = np.arange(20) * 100.0
    moved = np.array([0.01, 0.03] * 10)
    found = figures.paired(images + moved, images)
    assert found["x0"] == pytest.approx(0.02) and found["error"] == pytest.approx(0.01 / math.sqrt(19), rel=1e-6)
    assert figures.standard_error(images) > 1000 * found["error"]
    assert figures.paired(np.array([2.0]), np.array([1.0])) == {"x0": 1.0, "error": None}


def test_a_summary_has_the_strata_and_their_mean():
    losses, errors = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[10.0, 20.0], [30.0, 60.0]])
    assert figures.summary(losses, errors, ["clean", "noisy"]) == {
        "x0": 30.0, "error": 15.0, "loss": 2.5,
        "x0_by_stratum": {"clean": 20.0, "noisy": 40.0}, "loss_by_stratum": {"clean": 2.0, "noisy": 3.0},
    }  # fmt: skip


def test_the_line_of_a_log():
    known = {"held_out": {"x0": 0.5}, "tags": {"x0": 0.6}, "difference_to_first": {"x0": -0.1, "error": 0.01}}
    assert figures.line(known) == "error of x_0 0.50000, since the first -0.10000 ± 0.01000, tags 0.60000"


def test_a_mixtures_images_are_told_by_source():
    found = figures.by_source(np.array([1.0, 2.0, 4.0]), ["a", "b", "a"])
    assert found["a"] == {"x0": 2.5, "error": pytest.approx(1.5), "images": 2}
    assert found["b"] == {"x0": 2.0, "error": None, "images": 1}
