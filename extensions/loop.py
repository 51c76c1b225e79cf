"""What the patched lines of a trainer call: five one-line calls, each a fan-out to the plugins.

With no plugin each of them gives the trainer back exactly what it had, so that the patched trainer
equals upstream bit for bit.
"""

from dataclasses import dataclass, field
from typing import Any

from accelerate import DistributedType

from extensions import manager
from extensions.base.errors import UserError


@dataclass
class Run:
    """The state of one run on one process, as plugins see it.

    optimizer_steps: updates of the weights so far, counted from the start of the whole run (a resumed
    one begins at its start step). micro_steps: forward and backward passes of this process; samples: images
    over all processes; both counted on from a training state, otherwise in this launch. epochs: of the whole
    run, known when the first one begins. places: where the data stand (`data.loader.Places`), and
    made_with: what a state of this run says of it (`resume.identity.of_run`), where resume_at_step is listed; keys,
    too: the ids of each batch that this process has read for the optimizer step under way.
    """

    args: Any
    accelerator: Any
    optimizer: Any
    lr_scheduler: Any
    dataloader: Any
    optimizer_steps: int = 0
    micro_steps: int = 0
    samples: int = 0
    epochs: int = 0
    places: Any = None
    made_with: dict | None = None
    keys: list[list[str]] = field(default_factory=list)

    @property
    def optimizer_steps_per_epoch(self) -> int:
        """Updates an epoch; a last, incomplete accumulation counts as one (upstream's rule)."""
        accumulation = self.args.gradient_accumulation_steps
        return -(-len(self.dataloader) // accumulation)

    def learning_rates(self) -> list[float | None]:
        """The current learning rate of each parameter group, in the optimizer's order.

        AdaFactor's relative step keeps a tensor there, and None before its first update.
        """
        rates = (group["lr"] for group in self.optimizer.param_groups)
        return [None if rate is None else float(rate) for rate in rates]


_run: Run | None = None


def begin(args, accelerator, optimizer, lr_scheduler, dataloader, progress_bar) -> int:
    """The loop's counter at the start, in optimizer steps; tells the plugins that training begins."""
    global _run
    require_one_accumulation(args, accelerator)
    require_deepspeed(args, accelerator)
    _run = Run(args, accelerator, optimizer, lr_scheduler, dataloader)
    hook = manager.current().hook
    _run.optimizer_steps = hook.first_optimizer_step(run=_run) or 0
    progress_bar.update(_run.optimizer_steps)
    hook.training_begins(run=_run)
    return _run.optimizer_steps


def require_one_accumulation(args, accelerator) -> None:
    """UserError where accelerate accumulates over other micro-steps than the launcher says.

    A value in an accelerate or DeepSpeed configuration beats the command line without a word.
    """
    if accelerator.gradient_accumulation_steps != args.gradient_accumulation_steps:
        raise UserError(
            f"accelerate accumulates over {accelerator.gradient_accumulation_steps} micro-steps, the launcher says "
            f"{args.gradient_accumulation_steps}; take gradient_accumulation_steps out of accelerate's configuration"
        )


def require_deepspeed(args, accelerator) -> None:
    """UserError where --deepspeed was asked for and accelerate has started something else.

    It does so without a word where it is told to use the CPU: each process then trains by itself.
    """
    if getattr(args, "deepspeed", False) and accelerator.distributed_type != DistributedType.DEEPSPEED:
        raise UserError(
            f"--deepspeed: accelerate has set up {accelerator.distributed_type.value} instead; "
            "take ACCELERATE_USE_CPU out of the environment, or drop --deepspeed"
        )


def epochs(count: int):
    """The epochs of the loop: `range(count)`, or what a plugin makes of it; their ends are told."""
    _run.epochs = count
    hook = manager.current().hook
    chosen = hook.epoch_range(run=_run, epochs=count)
    for epoch in range(count) if chosen is None else chosen:
        yield epoch
        hook.epoch_ended(run=_run, epoch=epoch)
    hook.training_ends(run=_run)


def batches(dataloader, epoch: int):
    """The batches of an epoch: the data loader itself, or what a plugin makes of it."""
    begin_epoch = getattr(getattr(dataloader, "dataset", None), "begin_epoch", None)
    if begin_epoch:
        begin_epoch(epoch + 1)
    chosen = manager.current().hook.epoch_batches(run=_run, epoch=epoch)
    return dataloader if chosen is None else chosen


def micro_step_ended(optimizer_steps: int, loss: float, batch: dict) -> None:
    """Count a micro-step; where the trainer's counter moved, an optimizer step too."""
    updated = optimizer_steps != _run.optimizer_steps
    _run.samples += images(_run, batch)
    _run.optimizer_steps = optimizer_steps
    _run.micro_steps += 1
    hook = manager.current().hook
    hook.micro_step_ended(run=_run, loss=loss, batch=batch)
    if updated:
        hook.optimizer_step_ended(run=_run)
        _run.keys.clear()


def images(run: Run, batch: dict) -> int:
    """Of the micro-step under way, over all processes. A trainer's own loader tells this one's number only."""
    if run.places is None:
        return len(batch["captions"]) * run.accelerator.num_processes
    return run.places.images(run.optimizer_steps, run.micro_steps)


def current() -> Run | None:
    """This process's run; None before `begin`."""
    return _run
