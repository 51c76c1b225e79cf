"""Seams that were not called when they must be: said, or the end of the run before its first update."""

import argparse
import multiprocessing
from types import SimpleNamespace

import pytest
import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.upstream import fired, silent
from extensions.upstream.seam import END, EPOCH_SAVE, SAVE, START, STEP_SAVE, UPDATE, Fires, Seam


@pytest.fixture(autouse=True)
def nothing_called():
    fired.forget()
    yield
    fired.forget()


def seam(name="work", moment=START, **fires):
    return Seam("library.toy", name, lambda upstream: upstream(), (), "a test has it", Fires(moment, **fires))


def call(made):
    made.around(lambda: None)()


def run(**flags):
    """A run with a real optimizer, behind a wrapper as accelerate's."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = SimpleNamespace(optimizer=torch.optim.SGD([weight], lr=1.0))
    args = argparse.Namespace(**{"save_every_n_steps": None, "save_every_n_epochs": None} | flags)
    return SimpleNamespace(args=args, optimizer=optimizer, optimizer_steps=0, epochs=3, weight=weight)


def update(run):
    run.weight.grad = torch.ones(2)
    run.optimizer.optimizer.step()


def watch(*seams, family="sdxl"):
    return silent.Watch(seams, argparse.Namespace(), family)


def test_what_changes_training_ends_it_before_a_batch_is_read():
    with pytest.raises(UserError, match=r"did not call library\.toy\.work before the first batch; .* a test has it"):
        watch(seam(differs=True)).training_begins(run())


def test_what_does_not_is_said_once(capsys):
    watching, begun = watch(seam()), run()
    watching.training_begins(begun)
    watching.micro_step_ended(begun)
    said = capsys.readouterr().err
    assert said.startswith("warning: sd-scripts did not call library.toy.work before the first batch")
    assert said.count("\n") == 1


def test_the_first_update_is_not_made():
    begun = run()
    watch(seam(moment=UPDATE, differs=True)).training_begins(begun)
    with pytest.raises(UserError, match=r"before the first update.*take the pinned sd-scripts"):
        update(begun)
    assert begun.weight.tolist() == [1.0, 1.0]


def test_called_in_time_it_is_not_in_the_way(capsys):
    made, begun = seam(moment=UPDATE, differs=True), run()
    watching = watch(made)
    watching.training_begins(begun)
    call(made)
    for _ in range(2):
        update(begun)
        watching.micro_step_ended(begun)
    assert begun.weight.tolist() == [-1.0, -1.0] and capsys.readouterr().err == ""
    assert not begun.optimizer.optimizer._optimizer_step_pre_hooks


def test_an_optimizer_that_steps_by_itself_is_looked_at_behind_the_micro_step():
    watching, begun = watch(seam(moment=UPDATE, differs=True)), run()
    begun.optimizer = object()
    watching.training_begins(begun)
    with pytest.raises(UserError, match="before the first update"):
        watching.micro_step_ended(begun)


def test_a_worker_that_was_forked_tells(capsys):
    """Texts are tokenized there."""
    made, begun = seam(moment=UPDATE, differs=True), run()
    wrapped = made.around(lambda: None)
    worker = multiprocessing.get_context("fork").Process(target=wrapped)
    worker.start()
    worker.join(60)
    watch(made).training_begins(begun)
    update(begun)
    assert capsys.readouterr().err == ""


def test_only_what_such_a_run_calls_is_asked_for(capsys):
    other, unasked = seam(family="sd2", differs=True), seam(asked=lambda args: False, differs=True)
    watch(other, unasked).training_begins(run())
    assert capsys.readouterr().err == ""


def test_a_hook_that_nobody_answers_makes_no_difference(capsys, monkeypatch):
    watch(seam(differs=True, hook="tokenize")).training_begins(run())
    assert capsys.readouterr().err.startswith("warning: ")

    class Plugin:
        @manager.hookspecs.hookimpl
        def tokenize(self, texts):
            return None

    manager.current().register("own", Plugin())
    with pytest.raises(UserError):
        watch(seam(differs=True, hook="tokenize")).training_begins(run())


@pytest.mark.parametrize("moment", [STEP_SAVE, EPOCH_SAVE, END])
def test_saves_are_looked_at_when_they_were_due(capsys, moment):
    """At 4 of 5 steps, behind the second of three epochs, at the end; each with that of any save, once."""
    watching = watch(seam("own", moment), seam("any", SAVE))
    every = {STEP_SAVE: {"save_every_n_steps": 4}, EPOCH_SAVE: {"save_every_n_epochs": 2}}
    begun = run(**every.get(moment, {}))
    watching.training_begins(begun)
    for begun.optimizer_steps in range(1, 6):
        watching.optimizer_step_ended(begun)
    for epoch in range(3):
        watching.epoch_ended(begun, epoch)
    before = capsys.readouterr().err
    watching.run_ended(None)
    after = capsys.readouterr().err
    said = after if moment == END else before
    assert [line.split(" did not call library.toy.")[1].split()[0] for line in said.splitlines()] == ["own", "any"]
    assert moment == END or after == ""


def test_an_error_is_not_followed_by_more(capsys):
    watch(seam(moment=END)).run_ended(ValueError())
    assert capsys.readouterr().err == ""


def test_other_processes_save_nothing(capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    watch(seam(moment=SAVE)).run_ended(None)
    assert capsys.readouterr().err == ""
