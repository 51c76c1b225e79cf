"""Ends the run at NaN or infinity in loss or gradients, before the update that would spoil the weights.

    --on_nan=stop       say the optimizer step, the samples and the last good state, and end with exit code 76
    --on_nan=rollback   the same, and the launch goes on from the last good state without those samples
    --on_nan_limit=N    at most so many roll-backs in one launch

Gradients are looked at on every process before the optimizer steps (one pass over them: 10 GB in fp32, some
hundredths of a second on a GPU); under ZeRO each process sees its share, and one number is exchanged: what stops an
update cannot wait for the reports at the step's end, which carry the loss. Which of the
samples of the global batch is at fault is not known, so a roll-back leaves out all of them: those that were read, the
stand-ins of corrupt ones among them (`--bad_sample=skip`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING

from extensions import manager
from extensions.base.errors import NotFinite, UserError, no_room
from extensions.base.processes import any_process, from_all, from_main
from extensions.base.saving import write_text
from extensions.flags import values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.resume import process_notes, skipped, states
from extensions.resume.description import State

if TYPE_CHECKING:
    from extensions.loop import Run

REPORT = "on_nan: loss"  # to the other processes
STATES = "states_every_n_steps"  # the flag of whoever saves states


class Plugin:
    """Looks at loss and gradients; changes nothing of a sound training."""

    claims = ("what NaN does",)
    neutral = True
    flags = (
        Flag(
            "on_nan",
            str,
            "NaN in loss or gradients: end the run, or go on from the last state without those samples",
            default="stop",
            choices=("stop", "rollback"),
            neutral=True,
        ),
        Flag(
            "on_nan_limit",
            values.whole(1),
            "at most so many roll-backs in one launch",
            default=skipped.LIMIT,
            neutral=True,
        ),
    )

    def __init__(self):
        self.run: Run | None = None
        self.loss_is_bad = False

    @hookimpl
    def check_arguments(self, args):
        if args.on_nan == "rollback" and not hasattr(args, STATES):
            owner = manager.owner_of_flag(STATES)
            raise UserError(f"--on_nan=rollback needs states to go back to; add {owner} to --extensions")
        if args.on_nan == "rollback" and not args.run_folder:
            raise UserError(
                "--on_nan=rollback is a launcher's work, asked for in the run folder; start it by make train"
            )

    @hookimpl(trylast=True)
    def optimizer_built(self, optimizer):
        """Look before every step, whatever another plugin has made of it."""
        inner = optimizer.step

        def step(_optimizer, *arguments, **keywords):
            self.look(optimizer)
            return inner(*arguments, **keywords)

        optimizer.step = MethodType(step, optimizer)

    def look(self, optimizer) -> None:
        """NotFinite on every process when a gradient of one is not finite."""
        from extensions.optimizers.finite import finite

        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.run is not None and any_process(self.run.accelerator, not finite(gradients)):
            self.end(self.run, "gradients")

    @hookimpl
    def training_begins(self, run):
        self.run = run

    @hookimpl
    def micro_step_ended(self, loss):
        self.loss_is_bad |= not math.isfinite(loss)

    @hookimpl
    def step_reports(self):
        return {REPORT: self.loss_is_bad}

    @hookimpl(tryfirst=True)
    def optimizer_step_ended(self, run):
        """Check the loss where no gradient passes the optimizer (fused backward passes), before a state is saved."""
        if run.reported[REPORT]:
            self.end(run, "loss", run.optimizer_steps - 1)

    def end(self, run: Run, what: str, done: int | None = None) -> None:
        """Say what is known, ask for a roll-back where wanted, and raise NotFinite. done: optimizer steps before."""
        done = run.optimizer_steps if done is None else done
        keys = trained_keys(run)
        args, output = run.args, Path(run.args.output_dir)
        from extensions.resume import writer

        writer.settle()
        run.accelerator.wait_for_everyone()
        last = from_main(run.accelerator, next(iter(states.found(states.folder_of(output))[0]), None))
        good = f"last good state: {last.path}" if last else "no state was saved yet"
        if args.on_nan == "rollback" and last and keys:
            good += self.ask_to_go_back(run, last, {"optimizer_step": done + 1, "samples": keys})
        run.accelerator.end_training()
        raise NotFinite(
            f"{what} not finite at optimizer step {done + 1:,}; its samples: {', '.join(keys) or 'not known'}; {good}"
        )

    def ask_to_go_back(self, run: Run, last: State, request: dict) -> str:
        """Leave the request where the launch of each machine finds it: all go back, or none.

        request: {"optimizer_step": the one that failed, "samples": its ids}. Returns what to add to the run's last
        line: why there is no roll-back, or nothing.
        """
        args = run.args
        blind = [p for p, sees in enumerate(from_all(run.accelerator, process_notes.seen(last.path))) if not sees]
        if blind:
            return f", but {process_notes.named(blind)} cannot read it: all machines need the same output folder"
        path = Path(args.run_folder) / skipped.REQUEST
        text = json.dumps(request | {"state": str(last.path)}, indent=1)
        # A machine has a run folder of its own; no machine is to begin again before the others are asked.
        failed = run.accelerator.is_local_main_process and unwritten(lambda: write_text(path, text))
        reasons = from_all(run.accelerator, failed)
        if not any(reasons):
            failed = run.accelerator.is_main_process and unwritten(lambda: self.leave_out(run, last, request))
            reasons = from_all(run.accelerator, failed)
        if not any(reasons):
            return ""
        if run.accelerator.is_local_main_process:
            path.unlink(missing_ok=True)
        return f", but there is no roll-back: {next(filter(None, reasons))}"

    def leave_out(self, run: Run, last: State, request: dict) -> None:
        """Write down the samples that whoever goes on from the state must not see."""
        assert run.position is not None
        metadata, done = run.position.places.dataset.metadata, request["optimizer_step"] - 1
        rows = dict.fromkeys(metadata.rows_of(request["samples"]).values(), done)
        skipped.write(Path(run.args.output_dir), last, skipped.listed(run.position.places.skipped | rows, metadata))


def unwritten(write: Callable[[], None]) -> str | None:
    """Write, and return why that could not be done, in a few words; None where it could."""
    try:
        write()
    except (OSError, UserError) as error:
        return str(no_room(error) or error).partition(";")[0]
    return None


def trained_keys(run: Run) -> list[str]:
    """Ids that all processes have read for the optimizer step under way, each once, in the order of the data.

    Not the planned ones: another image may have taken a corrupt one's place. Every process calls this. Empty without
    resume_at_step.
    """
    if run.position is None:
        return []
    micro_steps = zip(*from_all(run.accelerator, run.position.keys), strict=True)
    return list(dict.fromkeys(key for batches in micro_steps for batch in batches for key in batch))
