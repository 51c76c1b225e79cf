"""Least squares over kept averages, against the paper's own algorithm with its continuous profiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from extensions.averages import fitting, profiles


def papers_factors(kept, end, length):
    """Algorithm 3 as the paper has it: closed forms of the profiles' products, no constraint."""

    def product(one, other):
        (time_a, gamma_a), (time_b, gamma_b) = one, other
        ratio = time_a / time_b
        power = gamma_b if time_a < time_b else -gamma_a
        top = (gamma_a + 1) * (gamma_b + 1) * ratio**power
        return top / ((gamma_a + gamma_b + 1) * max(time_a, time_b))

    rows = [(time, profiles.gamma_of(each)) for each, time in kept]
    wanted = (end, profiles.gamma_of(length))
    matrix = np.array([[product(a, b) for b in rows] for a in rows])
    return np.linalg.solve(matrix, [product(a, wanted) for a in rows])


def snapshots(count, end):
    return [(length, end * (i + 1) / count) for i in range(count) for length in profiles.LENGTHS]


@pytest.mark.parametrize("length", [0.02, 0.03, 0.07, 0.15, 0.25])
@pytest.mark.parametrize("count", [6, 16])
def test_they_come_as_close_to_the_wanted_weighing_as_the_papers(length, count):
    """By the density nearly, and by what weights of random steps make of it closer; their sum is exactly 1."""
    end = 20_000
    kept, times = snapshots(count, float(end)), profiles.updates(0, end, 1)
    shares = np.stack([profiles.shares(each, time, times) for each, time in kept])
    ours, papers = fitting.factors(kept, end, length, times), papers_factors(kept, end, length)
    left = [each @ shares - profiles.shares(length, end, times) for each in (ours, papers)]
    walked = [np.linalg.norm(each - each[-1]) for each in left]  # the last weights alone are known in any case
    assert walked[0] <= 1.001 * walked[1]
    densities = [np.linalg.norm(np.diff(each, prepend=0)) for each in left]
    assert densities[0] < 1.6 * densities[1]
    assert abs(ours.sum() - 1) < 1e-9


def test_the_longest_comes_out_five_times_closer():
    times, kept = profiles.updates(0, 20_000, 1), snapshots(16, 20_000.0)
    shares = np.stack([profiles.shares(each, time, times) for each, time in kept])
    left = [
        each @ shares - profiles.shares(0.25, 20_000, times)
        for each in (fitting.factors(kept, 20_000, 0.25, times), papers_factors(kept, 20_000, 0.25))
    ]
    assert np.linalg.norm(left[0]) < 0.2 * np.linalg.norm(left[1] - left[1][-1])


@given(some.sampled_from([0.05, 0.10]), some.integers(1, 12), some.integers(1, 9))
def test_what_was_tracked_is_taken_as_it_is(length, count, every):
    """The kept average itself, however many others there are."""
    times = profiles.updates(0, 40 * count * every, every)
    kept = snapshots(count, times[-1])
    found = fitting.factors(kept, times[-1], length, times)
    assert found[kept.index((length, times[-1]))] == pytest.approx(1, abs=1e-5)
    assert np.abs(found).sum() == pytest.approx(1, abs=1e-4)


@given(some.floats(0.02, 0.25), some.integers(1, 16))
def test_they_add_up_to_one(length, count):
    times = profiles.updates(0, 1600, 1)
    assert fitting.factors(snapshots(count, 1600.0), 1600, length, times).sum() == pytest.approx(1, abs=1e-9)


def test_blocks_change_nothing(monkeypatch):
    times, kept = profiles.updates(0, 2000, 1), snapshots(16, 2000.0)
    whole = fitting.factors(kept, 2000, 0.02, times)
    monkeypatch.setattr(fitting, "BLOCK", 37)
    assert fitting.factors(kept, 2000, 0.02, times) == pytest.approx(whole, abs=1e-9)
