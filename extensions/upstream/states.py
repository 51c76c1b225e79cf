"""Saves states of all ranks with --save_state.

Upstream saves a training state on process 0 alone: under DeepSpeed, whose shards every process holds, it
waits for the others for ever, and under DDP the state holds process 0's random streams only. At the end it
saves when the processes no longer talk to each other. Here the calls that upstream makes are passed over, and
its own functions are called where all processes are: after the optimizer step, the epoch, the last epoch.
"""

import argparse

from extensions.hookspecs import hookimpl

# Removing old states is for one process; the others are told that there are none to remove.
REMOVING = ("save_last_n_epochs", "save_last_n_epochs_state", "save_last_n_steps", "save_last_n_steps_state")

_together = False


def save(upstream, args, accelerator, *when):
    """Call upstream's function, one of three, where every process is here; otherwise do nothing."""
    if _together or accelerator.num_processes == 1:
        upstream(args, accelerator, *when)


class StatesOfAllProcesses:
    """Registered by the start of sd-scripts' trainers, whatever a run lists."""

    @hookimpl
    def optimizer_step_ended(self, run):
        every = run.args.save_every_n_steps
        if every and run.optimizer_steps % every == 0:
            everywhere(run, run.args.save_state, "save_and_remove_state_stepwise", run.optimizer_steps)

    @hookimpl
    def epoch_ended(self, run, epoch):
        every, done = run.args.save_every_n_epochs, epoch + 1
        if every and done % every == 0 and done < run.epochs:
            everywhere(run, run.args.save_state, "save_and_remove_state_on_epoch_end", done)

    @hookimpl
    def training_ends(self, run):
        asked = run.args.save_state or run.args.save_state_on_train_end
        everywhere(run, asked, "save_state_on_train_end")


def everywhere(run, asked: bool, function: str, *when) -> None:
    """Call upstream's function on each of several processes."""
    global _together
    if not asked or run.accelerator.num_processes == 1:
        return
    from library import train_util

    args = run.args
    if not run.accelerator.is_main_process:
        args = argparse.Namespace(**vars(args) | dict.fromkeys(REMOVING))
    _together = True
    try:
        getattr(train_util, function)(args, run.accelerator, *when)
    finally:
        _together = False
    run.accelerator.wait_for_everyone()
