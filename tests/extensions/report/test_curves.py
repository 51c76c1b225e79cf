"""Thinned curves against numpy on all values: no minimum and no maximum is lost, however the values came."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from extensions.report.curves import BINS, Curve

STEPS = st.lists(st.integers(0, 10**6), min_size=1, max_size=60)
VALUES = st.floats(-1e6, 1e6, width=32)


def curve_of(steps, values, blocks: int = 1) -> Curve:
    made = Curve()
    for part in zip(np.array_split(steps, blocks), np.array_split(values, blocks), strict=True):
        made.add(*part)
    return made


def held(curve: Curve, steps: np.ndarray, values: np.ndarray) -> None:
    """Each bin says what numpy says of the values in it, and every value is in one."""
    assert curve.count.sum() == len(values)
    for number, count, low, high, total in zip(
        curve.bins, curve.count, curve.low, curve.high, curve.total, strict=True
    ):
        inside = values[(steps >= number * curve.width) & (steps < (number + 1) * curve.width)]
        assert (count, low, high) == (len(inside), inside.min(), inside.max())
        assert np.isclose(total, inside.sum())


@given(st.data(), STEPS, st.integers(1, 7), st.integers(1, 40))
def test_thinning_keeps_every_minimum_and_maximum(data, steps, blocks, columns):
    values = np.array(data.draw(st.lists(VALUES, min_size=len(steps), max_size=len(steps))))
    steps = np.array(steps)
    curve = curve_of(steps, values, blocks)
    held(curve, steps, values)
    thin = curve.thinned(columns)
    held(thin, steps, values)
    assert thin.bins[-1] - thin.bins[0] < columns
    assert (thin.low.min(), thin.high.max()) == (values.min(), values.max())


@given(st.integers(1, 30_000), st.integers(0, 10**6), st.integers(2, 9), st.randoms(use_true_random=False))
def test_a_long_curve_stays_small_and_does_not_depend_on_blocks(length, first, blocks, draw):
    steps = np.arange(first, first + length)
    values = np.random.default_rng(draw.randrange(10**6)).normal(size=length)
    whole, parts = curve_of(steps, values), curve_of(steps, values, blocks)
    held(whole, steps, values)
    assert len(whole.bins) <= BINS and whole.width == parts.width
    assert np.array_equal(whole.bins, parts.bins) and np.array_equal(whole.low, parts.low)
    assert np.array_equal(whole.high, parts.high) and whole.last == parts.last == (steps[-1], values[-1])


@given(st.integers(1, 9_000), st.integers(1, 9_000))
def test_curves_of_launches_add_up(one, other):
    steps = np.arange(one + other)
    values = np.sin(steps)
    joined = curve_of(steps[:one], values[:one])
    joined.join(curve_of(steps[one:], values[one:]))
    held(joined, steps, values)
    assert len(joined.bins) <= BINS and joined.last == (steps[-1], values[-1])


def test_few_values_far_apart_keep_their_steps():
    steps = np.arange(0, 778_000, 1000)
    curve = curve_of(steps, steps / 2, 5)
    assert curve.width == 1 and np.array_equal(curve.steps(), steps)


def test_what_is_no_finite_number_is_counted_and_left_out():
    curve = curve_of(np.array([1, 2, 3, 4]), np.array([1.0, np.nan, np.inf, 2.0]))
    assert (curve.missing, curve.missing_at, curve.last) == (2, 2, (4, 2.0))
    assert curve.high.max() == 2.0


def test_a_smoothed_value_is_the_mean_around_it():
    values = np.random.default_rng(0).normal(size=1000)
    smoothed = curve_of(np.arange(1000), values).smoothed()
    assert np.isclose(smoothed[500], values[490:511].mean()) and np.isclose(smoothed[0], values[:11].mean())


def test_an_empty_curve_can_be_looked_at():
    assert not len(Curve().thinned(5).bins) and not len(Curve().smoothed())
