"""Upstream's losses of an epoch in eight bytes each: every mean stays upstream's to the bit."""

import inspect
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.upstream import seams

pytestmark = pytest.mark.upstream
EPOCHS = st.lists(st.lists(st.floats(width=32), min_size=1, max_size=9), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def recorder(patched):
    """Upstream's class, behind the seam."""
    from library.train_util import LossRecorder

    seams.install()
    return LossRecorder


def upstreams(recorder):
    """One that was made without the seam."""
    made = recorder.__new__(recorder)
    inspect.unwrap(recorder.__init__)(made)
    assert type(made.loss_list) is list
    return made


def bits(value: float) -> bytes:
    return struct.pack("d", value)


@given(epochs=EPOCHS, first=st.integers(0, 1))
def test_every_mean_is_upstreams(recorder, epochs, first):
    """Epochs of any lengths, NaN and infinity, and a run that goes on in its second epoch."""
    ours, theirs = recorder(), upstreams(recorder)
    assert ours.moving_average == theirs.moving_average == 0
    for epoch, losses in enumerate(epochs, start=first):
        for step, loss in enumerate(losses):
            ours.add(epoch=epoch, step=step, loss=loss)
            theirs.add(epoch=epoch, step=step, loss=loss)
            assert bits(ours.moving_average) == bits(theirs.moving_average)


def test_an_epoch_takes_eight_bytes_a_micro_step(recorder):
    ours = recorder()
    for step in range(100_000):
        ours.add(epoch=0, step=step, loss=step / 7)
    assert sys.getsizeof(ours.loss_list) < 9 * 100_000, "nothing but the numbers"
    assert ours.loss_list.itemsize == 8
