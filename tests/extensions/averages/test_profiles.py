"""Lengths, exponents and factors of averages, against the paper's figures, quadrature and its own recursion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from extensions.averages import profiles
from extensions.averages.profiles import Exponential, Power


@pytest.mark.parametrize(("length", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_the_exponents_that_the_paper_prints(length, gamma):
    """arXiv 2312.02696, section 3.1."""
    assert round(profiles.gamma_of(length), 2) == gamma
    assert profiles.length_of(gamma) == pytest.approx(length, rel=1e-3)


@given(some.floats(0.02, 0.25))
def test_a_length_is_the_standard_deviation_of_its_profile(length):
    gamma, times = profiles.gamma_of(length), (np.arange(200_000) + 0.5) / 200_000
    profile = times**gamma / (times**gamma).sum()
    mean = (profile * times).sum()
    assert np.sqrt((profile * (times - mean) ** 2).sum()) == pytest.approx(length, rel=1e-4)
    assert profiles.length_of(gamma) == pytest.approx(length, rel=1e-9)


@given(some.floats(0.02, 0.25), some.integers(0, 300), some.integers(1, 40))
def test_the_factor_over_several_steps_is_the_product_of_beta(length, before, count):
    """beta(t) = (1 - 1/t)^(gamma + 1)."""
    gamma = profiles.gamma_of(length)
    beta = [(1 - 1 / time) ** (gamma + 1) for time in range(before + 1, before + count + 1)]
    assert Power(length).keep(before, before + count) == pytest.approx(np.prod(beta), rel=1e-9, abs=1e-300)
    assert Exponential(0.9).keep(before, before + count) == pytest.approx(0.9**count, rel=1e-12)


@given(some.floats(0.02, 0.25), some.integers(0, 50), some.integers(1, 12), some.integers(1, 200))
def test_the_shares_of_the_updates_are_those_of_the_recursion(length, begin, every, steps):
    times = profiles.updates(begin, begin + steps, every)
    assert all((begin + time) % every == 0 and 0 < time <= steps for time in times)
    if not len(times):
        return
    found, before = np.zeros(len(times)), 0
    for number, time in enumerate(times):
        keep = Power(length).keep(before, time)
        found *= keep
        found[number] += 1 - keep
        before = time
    assert profiles.shares(length, times[-1], times) == pytest.approx(np.cumsum(found), abs=1e-12)
    assert profiles.shares(length, times[0], times).tolist() == [1.0] * len(times)


def test_names_are_short_and_say_all():
    names = [each.name for each in profiles.tracked(0.99995)]
    assert names == ["0.05", "0.10", "decay0.99995"]
    assert [Power(length).name for length in (0.2, 0.075, 0.25)] == ["0.20", "0.075", "0.25"]
    assert len(profiles.tracked(None)) == 2


def test_due_is_what_lies_between_two_updates():
    assert profiles.due([10, 20], 9, 10) and profiles.due([15], 10, 20)
    assert not profiles.due([10, 20], 10, 19) and not profiles.due([], 0, 100)
