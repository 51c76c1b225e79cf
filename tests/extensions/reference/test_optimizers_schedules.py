"""Learning rates over a run are upstream's, whatever the schedule, the warm-up and the number of processes."""

import pytest
import torch
from transformers.optimization import AdafactorSchedule

from extensions.base.errors import UserError
from extensions.reference import optimizers
from tests.helpers.optimizer_flags import both, flags, groups


@pytest.fixture(scope="module")
def train_util(patched):
    from library import train_util

    return train_util


SCHEDULES = [
    {"lr_scheduler": "constant"},
    {"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 5},
    {"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 0.25},
    {"lr_scheduler": "linear", "lr_warmup_steps": 3},
    {"lr_scheduler": "cosine", "lr_warmup_steps": 0.1},
    {"lr_scheduler": "cosine", "lr_scheduler_args": ["num_cycles=2.5"]},
    {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3, "lr_warmup_steps": 2},
    {"lr_scheduler": "polynomial", "lr_scheduler_power": 2.0, "lr_scheduler_args": ["lr_end=1e-6"]},
    {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": ["step_rules='1:5,0.1:10,0.01'"]},
    {"lr_scheduler": "inverse_sqrt", "lr_warmup_steps": 4},
    {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_args": ["min_lr=1e-5"]},
]


@pytest.mark.upstream
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("given", SCHEDULES, ids=lambda given: "-".join(str(value) for value in given.values()))
def test_rates_over_a_run_are_upstreams(given, processes, train_util):
    args = flags(**given)
    ours, expected, theirs = both(train_util, args)
    schedules = [
        optimizers.lr_scheduler(args, ours, processes),
        train_util.get_scheduler_fix(theirs, expected, processes),
    ]
    rates = []
    for _ in range(20 * processes):
        rates.append([schedule.get_last_lr() for schedule in schedules])
        for optimizer, schedule in zip((ours, expected), schedules, strict=True):
            optimizer.step()
            schedule.step()
    assert [pair[0] for pair in rates] == [pair[1] for pair in rates]
    assert given["lr_scheduler"] == "constant" or len({pair[0][0] for pair in rates}) > 1


@pytest.mark.upstream
@pytest.mark.parametrize("words", [None, ["relative_step=False"]])
def test_adafactors_rates_over_a_run_are_upstreams(words, train_util):
    args = flags(optimizer_type="AdaFactor", optimizer_args=words)
    ours, expected, theirs = both(train_util, args)
    schedules = optimizers.lr_scheduler(args, ours, 1), train_util.get_scheduler_fix(theirs, expected, 1)
    for _ in range(3):
        assert schedules[0].get_last_lr() == schedules[1].get_last_lr()
        for optimizer in (ours, expected):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.ones_like(parameter)
            optimizer.step()
    assert torch.equal(ours.param_groups[0]["params"][0], expected.param_groups[0]["params"][0])


def test_relative_steps_have_their_own_schedule():
    args = flags(optimizer_type="AdaFactor", lr_scheduler="cosine")
    schedule = optimizers.lr_scheduler(args, optimizers.optimizer(args, groups()), 1)
    assert isinstance(schedule, AdafactorSchedule) and schedule.get_last_lr() == [1e-3, 1e-3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr_scheduler": "no_such"}, "--lr_scheduler=no_such"),
        ({"lr_scheduler": "cosine", "lr_scheduler_args": ["no_such=1"]}, "--lr_scheduler=cosine.*no_such"),
        ({"lr_scheduler": "cosine", "lr_scheduler_args": ["num_cycles"]}, "--lr_scheduler_args"),
        ({"lr_warmup_steps": 5}, "--lr_warmup_steps=5 has no effect"),
        ({"lr_scheduler": "adafactor:1e-3"}, "belongs to --optimizer_type=AdaFactor"),
        ({"optimizer_type": "AdaFactor", "lr_warmup_steps": 5}, "--lr_warmup_steps=5 has no effect"),
    ],
)
def test_a_schedule_that_cannot_be_is_one_line(given, message):
    args = flags(**given)
    made = optimizers.optimizer(args, groups())
    with pytest.raises(UserError, match=message) as caught:
        optimizers.lr_scheduler(args, made, 1)
    assert "\n" not in str(caught.value)
