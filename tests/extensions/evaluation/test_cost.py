"""The interval that is chosen keeps an evaluation within a hundredth of the time."""

from hypothesis import given
from hypothesis import strategies as st

from extensions.evaluation import cost


@given(images=st.integers(2, 1000), strata=st.integers(1, 100), a_step=st.integers(1, 512))
def test_the_default_interval_costs_a_hundredth_at_most(images, strata, a_step):
    passes = cost.forward_passes(images, strata)
    every = cost.interval(passes, a_step)
    assert cost.share(passes, every, a_step) <= cost.SHARE
    if every > 1:
        assert passes / ((every - 1) * a_step * cost.PASSES) > cost.SHARE


def test_four_cards_with_accumulation_four():
    """16 images in 8 strata, 16 images an update: 640 passes, every 1,334 updates."""
    assert cost.forward_passes(16, 8) == 640
    assert cost.interval(640, 16) == 1334
