"""The mean of the last losses, and learning rates under the names of the models that they belong to."""

import argparse
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extensions.model.models import Models
from extensions.reference import log

LOSSES = st.lists(st.floats(0, 10), max_size=60)


@given(values=LOSSES, window=st.integers(1, 20))
def test_the_mean_is_that_of_the_last_values(values, window):
    average = log.Average(window)
    assert average.mean == 0.0
    for count, value in enumerate(values, start=1):
        last = values[max(0, count - window) : count]
        assert average.add(value) == pytest.approx(sum(last) / len(last), rel=1e-9, abs=1e-12)
        assert average.mean == pytest.approx(sum(last) / len(last), rel=1e-9, abs=1e-12)


@pytest.fixture(scope="module")
def recorder(patched):
    from library.train_util import LossRecorder

    return LossRecorder


@pytest.mark.upstream
@given(epochs=st.lists(st.lists(st.floats(0, 10), min_size=5, max_size=5), min_size=1, max_size=4))
def test_over_whole_epochs_it_is_upstreams(epochs, recorder):
    ours, theirs = log.Average(5), recorder()
    for epoch, values in enumerate(epochs):
        for step, value in enumerate(values):
            theirs.add(epoch=epoch, step=step, loss=value)
            assert ours.add(value) == theirs.moving_average


def models(encoders: int) -> Models:
    return Models("sdxl", torch.nn.Linear(1, 1), [torch.nn.Linear(1, 1) for _ in range(encoders)])


def groups(*trained):
    return [{"params": list(model.parameters())} for model in trained]


def test_groups_are_named_after_their_model():
    made = models(2)
    unet, (first, second) = made.unet, made.text_encoders
    assert log.group_names(made, groups(unet, first, second)) == ["unet", "text_encoder1", "text_encoder2"]
    assert log.group_names(made, groups(unet, second)) == ["unet", "text_encoder2"]
    assert log.group_names(made, groups(second)) == ["text_encoder2"], "upstream says text_encoder1"
    assert log.group_names(made, [{"params": list(first.parameters())[1:]}]) == ["text_encoder1"]


def test_rates_are_logged_under_those_names():
    made = models(2)
    unet, encoder = groups(made.unet, made.text_encoders[1])
    optimizer = torch.optim.SGD([unet | {"lr": 0.5}, encoder | {"lr": 0.25}])
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)
    rates = log.learning_rates(["unet", "text_encoder2"], schedule)
    assert rates == {"lr/unet": 0.5, "lr/text_encoder2": 0.25}


def test_trackers_are_given_what_they_can_show():
    told = {}
    accelerator = SimpleNamespace(init_trackers=lambda name, config: told.update({name: config}))
    shown = {"seed": 1, "learning_rate": 1e-5, "v2": False, "output_dir": "x"}
    log.begin(accelerator, argparse.Namespace(**shown, optimizer_args=["a=1"], clip_skip=None))
    assert told == {"finetuning": shown}
