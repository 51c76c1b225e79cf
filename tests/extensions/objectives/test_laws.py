"""Laws of the level of noise against scipy's distributions; shifts and bounds against what they say of the law."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from extensions.objectives.laws import Law, level_of

SHARES = np.linspace(0.001, 0.999, 37)
ORACLES = {  # the distribution function of s, by scipy
    Law(): stats.uniform.cdf,
    Law("logit_normal"): lambda s: stats.norm.cdf(np.log(s / (1 - s))),
    Law("logit_normal", -0.2, 1.7): lambda s: stats.norm.cdf(np.log(s / (1 - s)), -0.2, 1.7),
    Law("beta", alpha=2.0, beta=5.0): lambda s: stats.beta.cdf(s, 2, 5),
    Law("beta", alpha=0.5, beta=0.7): lambda s: stats.beta.cdf(s, 0.5, 0.7),
    Law("beta", alpha=60.0, beta=20.5): lambda s: stats.beta.cdf(s, 60, 20.5),
}


@pytest.mark.parametrize("law", ORACLES, ids=str)
def test_a_law_is_scipys(law):
    for share in SHARES:
        level = law.at(share)
        assert 0 < level < 1
        assert ORACLES[law](level) == pytest.approx(share, abs=1e-9)
        assert law.below(level) == pytest.approx(share, abs=1e-9)


def test_cosmap_gives_flow_the_log_snr_of_the_cosine_schedule():
    """arXiv 2403.03206, eq. 20 and 21: the log-SNR of x_s at s is that of cos, sin at the share."""
    law = Law("cosmap")
    for share in SHARES:
        s = law.at(share)
        assert 2 * math.log((1 - s) / s) == pytest.approx(-2 * math.log(math.tan(math.pi * share / 2)), abs=1e-9)
        assert law.below(s) == pytest.approx(share, abs=1e-12)


@given(
    law=st.sampled_from([*ORACLES, Law("cosmap")]), number=st.floats(1e-12, 1 - 1e-12), shift=st.floats(0.1, 10),
    bounds=st.tuples(st.integers(0, 999), st.integers(1, 1000)).filter(lambda pair: pair[0] < pair[1]),
)  # fmt: skip
def test_bounds_hold_and_more_stays_more(law, number, shift, bounds):
    low, high = (each / 1000 for each in bounds)
    found = level_of(law, number, shift, low, high)
    assert low <= found <= high
    assert level_of(law, min(number + 0.1, 1 - 1e-12), shift, low, high) >= found - 1e-12


@pytest.mark.parametrize("law", ORACLES, ids=str)
def test_within_bounds_the_law_is_what_it_is_without(law):
    """A share of what lies between the bounds, not of all: nothing piles up at an end."""
    low, high = 0.2, 0.7
    below = ORACLES[law]
    for share in SHARES[::4]:
        found = level_of(law, share, 1.0, low, high)
        wanted = (below(found) - below(low)) / (below(high) - below(low))
        assert wanted == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_a_shift_of_the_logit_normal_moves_its_mean_by_its_logarithm(shift):
    """arXiv 2403.03206: the odds of s are multiplied, so that the logit moves."""
    for share in SHARES:
        found = level_of(Law("logit_normal", 0.3, 0.8), share, shift, 0, 1)
        assert found == pytest.approx(expit(stats.norm.ppf(share, 0.3 + math.log(shift), 0.8)), abs=1e-9)
