"""What the patched lines get back, with and without plugins."""

import argparse
import types

import pytest
import torch
from accelerate import Accelerator

from extensions import loop, manager
from extensions.base.errors import UserError
from extensions.hookspecs import hookimpl


class Bar:
    """Stands for the progress bar."""

    def update(self, steps):
        self.steps = steps


class Spy:
    """Notes the calls of a run."""

    def __init__(self):
        self.calls = []

    @hookimpl
    def first_optimizer_step(self):
        return 5

    @hookimpl
    def training_begins(self, run):
        self.calls.append(("begins", run.optimizer_steps))

    @hookimpl
    def micro_step_ended(self, run, loss):
        self.calls.append(("micro", run.micro_steps, run.samples, loss))

    @hookimpl
    def optimizer_step_ended(self, run):
        self.calls.append(("optimizer", run.optimizer_steps))

    @hookimpl
    def epoch_ended(self, epoch):
        self.calls.append(("epoch", epoch))

    @hookimpl
    def training_ends(self, run):
        self.calls.append(("end", run.epochs))


def begin(optimizer=None):
    args = argparse.Namespace(gradient_accumulation_steps=4)
    bar = Bar()
    return loop.begin(
        args, Accelerator(cpu=True, gradient_accumulation_steps=4), optimizer, None, [1, 2, 3, 4, 5], bar
    ), bar


@pytest.fixture
def spy(monkeypatch):
    made = manager.Manager()
    made.register("spy", spy := Spy())
    monkeypatch.setattr(manager, "_current", made)
    return spy


def test_without_plugins_the_trainer_keeps_what_it_had(monkeypatch):
    monkeypatch.setattr(manager, "_current", manager.Manager())
    loader = [1, 2]
    assert begin()[0] == 0
    assert list(loop.epochs(3)) == [0, 1, 2]
    assert loop.batches(loader, 0) is loader


def test_ends_are_told_after_the_epochs_work(spy):
    begin()
    for epoch in loop.epochs(2):
        spy.calls.append(("work", epoch))
    told = [("work", 0), ("epoch", 0), ("work", 1), ("epoch", 1), ("end", 2)]
    assert [call for call in spy.calls if call[0] != "begins"] == told


def test_the_data_set_learns_its_epoch_before_the_first_batch(monkeypatch):
    monkeypatch.setattr(manager, "_current", manager.Manager())
    begin()
    told = []
    loader = types.SimpleNamespace(dataset=types.SimpleNamespace(begin_epoch=told.append))
    loop.batches(loader, 2)
    assert told == [3]


def test_steps_micro_steps_and_samples_are_counted_apart(spy):
    start, bar = begin()
    assert (start, bar.steps) == (5, 5)
    batch = {"captions": ["a", "b"]}
    for steps, loss in ((5, 0.1), (6, 0.2)):
        loop.micro_step_ended(steps, loss, batch)
    assert spy.calls == [("begins", 5), ("micro", 1, 2, 0.1), ("micro", 2, 4, 0.2), ("optimizer", 6)]
    assert loop.current().optimizer_steps_per_epoch == 2


def test_reports_are_gathered_once_a_step_and_known_when_it_has_ended(monkeypatch):
    class Reporter:
        def __init__(self, own):
            self.own, self.seen = own, []

        @hookimpl
        def step_reports(self):
            return self.own

        @hookimpl
        def optimizer_step_ended(self, run):
            self.seen.append(run.reported)

    made, asked = manager.Manager(), []
    plugins = [Reporter({"a": False}), Reporter({"b": False}), Reporter(None)]
    for name, plugin in zip("abc", plugins, strict=True):
        made.register(name, plugin)
    monkeypatch.setattr(manager, "_current", made)
    monkeypatch.setattr(loop, "any_process_of_each", lambda _, own: asked.append(own) or dict.fromkeys(own, True))
    begin()
    for steps in (0, 1, 1, 2):
        loop.micro_step_ended(steps, 0.1, {"captions": ["a"]})
    assert [sorted(own) for own in asked] == [["a", "b"]] * 2
    assert all(plugin.seen == [{"a": True, "b": True}] * 2 for plugin in plugins)


def test_another_accumulation_in_accelerates_configuration_is_refused():
    args = argparse.Namespace(gradient_accumulation_steps=2)
    with pytest.raises(UserError, match="accumulates over 4 micro-steps, the launcher says 2"):
        loop.begin(args, Accelerator(cpu=True, gradient_accumulation_steps=4), None, None, [], Bar())


def test_learning_rates_are_numbers_whatever_the_optimizer_keeps():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    optimizer.param_groups += [{"params": [], "lr": torch.tensor(0.25)}, {"params": [], "lr": None}]
    begin(optimizer)
    assert loop.current().learning_rates() == [0.5, 0.25, None]
