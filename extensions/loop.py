"""Calls the plugins for the patched lines of a trainer: five one-line calls, each a fan-out.

With no plugin each of them gives the trainer back exactly what it had, so that the patched trainer
equals upstream bit for bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from accelerate import Accelerator
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.processes import any_process_of_each


class Schedule(Protocol):
    """A learning-rate schedule, as PyTorch's and accelerate's are."""

    def step(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Places(Protocol):
    """The batches of this process, at any optimizer step: `data.loader.Places`."""

    dataset: Any
    skipped: dict[int, int]
    ahead: int
    steps: int

    def begin(self, epoch: int, first: int) -> None: ...

    def images(self, optimizer_steps: int, micro_steps: int) -> int: ...

    def shapes(self, optimizer_steps: int, micro_steps: int) -> list[list[int]]: ...

    def drawn(self, optimizer_steps: int, micro_step: int, process: int) -> int: ...


@dataclass
class Position:
    """Where the data of a run stand whose order is known at every optimizer step (`data/order.py`).

    identity: what a training state of this run says of it (`resume.identity.of_run`). keys: the ids of each batch
    that this process has read for the optimizer step under way.
    """

    places: Places
    identity: dict[str, Any] = field(default_factory=dict)
    keys: list[list[str]] = field(default_factory=list)


@dataclass
class Run:
    """The state of one run on one process, as plugins see it.

    optimizer_steps: updates of the weights so far, counted from the start of the whole run (a resumed
    one begins at its start step). micro_steps: forward and backward passes of this process; samples: images
    over all processes; both counted on from a training state, otherwise in this launch. epochs: of the whole
    run, known when the first one begins. position: of its data; None where the trainer's own loader shuffles them.
    reported: {name: whether any process reports it} at the end of the last optimizer step.
    """

    args: argparse.Namespace
    accelerator: Accelerator
    optimizer: Optimizer
    lr_scheduler: Schedule
    dataloader: DataLoader
    optimizer_steps: int = 0
    micro_steps: int = 0
    samples: int = 0
    epochs: int = 0
    position: Position | None = None
    reported: dict[str, bool] = field(default_factory=dict)

    @property
    def optimizer_steps_per_epoch(self) -> int:
        """Updates an epoch; a last, incomplete accumulation counts as one (upstream's rule)."""
        accumulation = self.args.gradient_accumulation_steps
        return -(-len(self.dataloader) // accumulation)

    def learning_rates(self) -> list[float | None]:
        """Return the current learning rate of each parameter group, in the optimizer's order.

        AdaFactor's relative step keeps a tensor there, and None before its first update.
        """
        rates = (group["lr"] for group in self.optimizer.param_groups)
        return [None if rate is None else float(rate) for rate in rates]


_run: Run | None = None


def begin(
    args: argparse.Namespace,
    accelerator: Accelerator,
    optimizer: Optimizer,
    lr_scheduler: Schedule,
    dataloader: DataLoader,
    progress_bar,
) -> int:
    """Return the loop's counter at the start, in optimizer steps; tells the plugins that training begins."""
    global _run
    require_one_accumulation(args, accelerator)
    _run = Run(args, accelerator, optimizer, lr_scheduler, dataloader)
    hook = manager.current().hook
    _run.optimizer_steps = hook.first_optimizer_step(run=_run) or 0
    progress_bar.update(_run.optimizer_steps)
    hook.training_begins(run=_run)
    hook.evaluate(run=_run, ended=False)
    return _run.optimizer_steps


def require_one_accumulation(args: argparse.Namespace, accelerator: Accelerator) -> None:
    """Raise UserError where accelerate accumulates over other micro-steps than the launcher says.

    A value in an accelerate or DeepSpeed configuration beats the command line without a word.
    """
    if accelerator.gradient_accumulation_steps != args.gradient_accumulation_steps:
        raise UserError(
            f"accelerate accumulates over {accelerator.gradient_accumulation_steps} micro-steps, the launcher says "
            f"{args.gradient_accumulation_steps}; take gradient_accumulation_steps out of accelerate's configuration"
        )


def epochs(count: int) -> Iterator[int]:
    """Yield the epochs of the loop: `range(count)`, or what a plugin makes of it; their ends are told."""
    assert _run is not None  # `begin` comes first
    _run.epochs = count
    hook = manager.current().hook
    chosen = hook.epoch_range(run=_run, epochs=count)
    for epoch in range(count) if chosen is None else chosen:
        yield epoch
        hook.epoch_ended(run=_run, epoch=epoch)
    hook.training_ends(run=_run)
    hook.evaluate(run=_run, ended=True)


def batches(dataloader: DataLoader, epoch: int) -> Iterable[dict]:
    """Return the batches of an epoch: the data loader itself, or what a plugin makes of it."""
    dataset = getattr(dataloader, "dataset", None)
    if dataset is not None and hasattr(dataset, "begin_epoch"):  # ours; upstream's own data sets count by themselves
        dataset.begin_epoch(epoch + 1)
    chosen = manager.current().hook.epoch_batches(run=_run, epoch=epoch)
    return dataloader if chosen is None else chosen


def micro_step_ended(optimizer_steps: int, loss: float, batch: dict) -> None:
    """Count a micro-step; where the trainer's counter moved, an optimizer step too."""
    assert _run is not None
    updated = optimizer_steps != _run.optimizer_steps
    _run.samples += images(_run, batch)
    _run.optimizer_steps = optimizer_steps
    _run.micro_steps += 1
    hook = manager.current().hook
    hook.micro_step_ended(run=_run, loss=loss, batch=batch)
    if updated:
        _run.reported = reported(_run)
        hook.optimizer_step_ended(run=_run)
        hook.evaluate(run=_run, ended=False)
        if _run.position:
            _run.position.keys.clear()


def reported(run: Run) -> dict[str, bool]:
    """Tell of each report of the plugins whether any process makes it; a question each would be a reduction each."""
    own: dict[str, bool] = {}
    for reports in manager.current().hook.step_reports(run=run):
        own |= reports
    return any_process_of_each(run.accelerator, own)


def images(run: Run, batch: dict) -> int:
    """Of the micro-step under way, over all processes. A trainer's own loader tells this one's number only."""
    if run.position is None:
        return len(batch["captions"]) * run.accelerator.num_processes
    return run.position.places.images(run.optimizer_steps, run.micro_steps)


def current() -> Run | None:
    """Return this process's run; None before `begin`."""
    return _run
