"""Start and stop in optimizer steps, with accumulation."""

import argparse

import pytest
import torch
from accelerate import Accelerator

from extensions import resume_at_step
from extensions.errors import UserError
from extensions.loop import Run

IMAGES = 10


def run_of(start=0, stop=None, skip=True, accumulation=4, steps=9):
    """A prepared run over ten images of one number each, and its plugin."""
    args = argparse.Namespace(
        initial_step=start, stop_at_step=stop, skip_until_initial_step=skip and start > 0,
        gradient_accumulation_steps=accumulation, max_train_steps=steps,
    )  # fmt: skip
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulation)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    loader = torch.utils.data.DataLoader(torch.arange(IMAGES), batch_size=1)
    run = Run(args, accelerator, optimizer, schedule, accelerator.prepare(loader))
    plugin = resume_at_step.Plugin()
    plugin.check_arguments(args=args)
    return run, plugin


def walk(run, plugin, epochs):
    """The (epoch, image) sequence that the trainer's loop would see."""
    run.optimizer_steps = plugin.first_optimizer_step(run=run)
    seen = []
    for epoch in plugin.epoch_range(run=run, epochs=epochs):
        for micro, batch in enumerate(plugin.epoch_batches(run=run, epoch=epoch), start=1):
            seen.append((epoch, int(batch)))
            last = int(batch) == IMAGES - 1
            if micro % run.args.gradient_accumulation_steps == 0 or last:
                run.optimizer_steps += 1
            if run.optimizer_steps >= run.args.max_train_steps:
                break
    return seen


@pytest.mark.parametrize("start", range(9))
@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_resumed_run_sees_what_the_unbroken_one_has_left(start, accumulation):
    whole = walk(*run_of(accumulation=accumulation), epochs=3)
    first = walk(*run_of(stop=start, accumulation=accumulation), epochs=3) if start else []
    rest = walk(*run_of(start=start, accumulation=accumulation), epochs=3)
    assert first + rest == whole


def test_schedule_is_carried_on():
    run, plugin = run_of(start=5)
    plugin.first_optimizer_step(run=run)
    assert run.lr_scheduler.get_last_lr() == [1 / 6]


def test_without_skip_the_data_begin_again():
    run, plugin = run_of(start=3, skip=False)
    assert walk(run, plugin, epochs=3)[0] == (0, 0)
    assert run.optimizer_steps == 9


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (5, 5), (5, 3)])
def test_impossible_steps(start, stop):
    with pytest.raises(UserError):
        run_of(start=start, stop=stop)


def test_start_after_the_end():
    run, plugin = run_of(start=9)
    with pytest.raises(UserError, match="nothing is left"):
        plugin.first_optimizer_step(run=run)
