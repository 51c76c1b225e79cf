"""Training states by all processes: who calls upstream's functions, when, and who removes old ones."""

import argparse
import types

import pytest

from extensions.upstream import states

pytestmark = pytest.mark.upstream


def run(processes=2, main=True, **flags):
    defaults = dict.fromkeys(
        ["save_state", "save_state_on_train_end", "save_every_n_steps", "save_every_n_epochs", *states.REMOVING]
    )
    accelerator = types.SimpleNamespace(num_processes=processes, is_main_process=main, wait_for_everyone=lambda: None)
    args = argparse.Namespace(**defaults | flags)
    return types.SimpleNamespace(args=args, accelerator=accelerator, optimizer_steps=0, epochs=3)


@pytest.fixture
def calls(patched, monkeypatch):
    """What reaches upstream's functions through the seams."""
    from library import train_util

    seen = []
    for name in ("save_and_remove_state_stepwise", "save_and_remove_state_on_epoch_end", "save_state_on_train_end"):

        def upstream(args, accelerator, *when, name=name):
            seen.append((name.rsplit("_state_", maxsplit=1)[1], *when, args.save_last_n_steps))

        monkeypatch.setattr(train_util, name, lambda *a, upstream=upstream: states.save(upstream, *a))
    return seen


def train(run, steps=4, steps_an_epoch=2):
    """The hooks of a run, and upstream's own calls from process 0 and at the end."""
    from library import train_util

    made = states.StatesOfAllProcesses()
    for step in range(1, steps + 1):
        run.optimizer_steps = step
        if run.args.save_state and run.accelerator.is_main_process:
            train_util.save_and_remove_state_stepwise(run.args, run.accelerator, step)
        made.optimizer_step_ended(run)
        if step % steps_an_epoch == 0:
            made.epoch_ended(run, step // steps_an_epoch - 1)
    made.training_ends(run)
    train_util.save_state_on_train_end(run.args, run.accelerator)


@pytest.mark.parametrize("main", [True, False])
def test_every_process_saves_once_when_it_is_due_and_one_removes(calls, main):
    train(run(main=main, save_state=True, save_every_n_steps=2, save_every_n_epochs=1, save_last_n_steps=5))
    last = 5 if main else None
    assert calls == [
        ("stepwise", 2, last), ("on_epoch_end", 1, last), ("stepwise", 4, last), ("on_epoch_end", 2, last),
        ("on_train_end", last),
    ]  # fmt: skip


def test_one_process_is_left_to_upstream(calls):
    train(run(processes=1, save_state=True, save_every_n_steps=2))
    assert [call[0] for call in calls] == ["stepwise"] * 4 + ["on_train_end"]


def test_nothing_is_saved_unasked(calls):
    train(run(save_every_n_steps=2, save_every_n_epochs=1))
    assert calls == []


def test_the_last_epoch_leaves_the_state_of_the_end_only(calls):
    train(run(save_state=True, save_every_n_epochs=1), steps=6)
    assert [call[:-1] for call in calls] == [("on_epoch_end", 1), ("on_epoch_end", 2), ("on_train_end",)]
