"""The numbers behind timesteps: even over an update, uniform over a run, a function of nothing but their place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from extensions.objectives import draws


@given(seed=st.integers(0, 2**32), step=st.integers(0, 10**6), count=st.integers(1, 64))
def test_each_sample_of_an_update_has_a_stratum_for_itself(seed, step, count):
    found = [draws.stratified(seed, step, place, count) for place in range(count)]
    assert sorted(int(number * count) for number in found) == list(range(count))
    assert all(0 < number < 1 for number in found)
    assert found == [draws.stratified(seed, step, place, count) for place in range(count)]


@pytest.mark.parametrize("draw", [draws.independent, lambda *words: draws.stratified(*words, 16)])
def test_over_a_run_every_place_has_uniform_numbers(draw):
    """By the test of Kolmogorov and Smirnov, of one place and of neighbours' differences."""
    found = [draw(25022601, step, 3) for step in range(2000)]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    other = [draw(25022601, step, 4) for step in range(2000)]
    assert abs(stats.pearsonr(found, other).statistic) < 0.1
    assert abs(stats.pearsonr(found[1:], found[:-1]).statistic) < 0.06


def test_seed_step_and_place_each_count():
    words = [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]
    assert len({draws.independent(*each) for each in words}) == len(words)
    assert len({draws.stratified(*each, 8) for each in words}) == len(words)
