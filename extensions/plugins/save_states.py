"""Saves training states to resume from exactly, at intervals and when the run is asked to stop.

    --states_every_n_steps=N   optimizer steps between states; 0: only at the end and when asked to stop
    --keep_states=N            the newest N stay

A state is a folder below <output_dir>/states (`extensions/resume/states.py` says what is in it). SIGTERM, SIGINT or
SIGHUP: the optimizer step is finished on every process, a state saved, and the run ends with exit code 75; a second
signal ends it at once. At SDXL's size a state takes 10 to 25 GB; it is copied to memory and written beside the
training.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from extensions import manager
from extensions.base import manifest, saving
from extensions.base.errors import Stopped, UserError
from extensions.base.processes import from_all, from_main
from extensions.base.shared_exit import ONE_REQUEST
from extensions.flags import values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.model.models import Models
from extensions.resume import skipped, states
from extensions.resume.description import Description

if TYPE_CHECKING:
    from extensions.resume.writer import Writer

REPORT = "save_states: asked to stop"  # to the other processes
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Plugin:
    """Saves; changes nothing of the training."""

    claims = ("training states",)
    needs = {"resume_at_step": "which orders the data"}
    excludes = {"fused_optimizer_groups": "it makes several optimizers, and the state of one is kept"}
    neutral = True
    models: Models
    flags = (
        Flag(
            "states_every_n_steps",
            values.whole(0),
            "between training states; 0: only at the end and when asked to stop",
            default=1000,
            unit="optimizer steps",
            neutral=True,
        ),
        Flag("keep_states", values.whole(1), "how many of the newest states stay", default=2, neutral=True),
    )

    def __init__(self):
        self.writer: Writer | None = None  # until the training begins
        self.saved: int | None = None
        self.asked: float | None = None

    @hookimpl
    def check_arguments(self, args):
        if not args.output_dir:
            raise UserError("save_states needs --output_dir, where the states go")

    @hookimpl
    def models_loaded(self, models):
        self.models = models

    @hookimpl
    def training_begins(self, run):
        from extensions.resume import capture
        from extensions.resume.writer import Writer, require_room_for_all

        output = Path(run.args.output_dir)
        if run.accelerator.is_main_process:
            saving.remove_left(output)
        folder = states.folder_of(output)
        self.writer = Writer(folder, run.args.keep_states, run.accelerator)
        self.saved = run.optimizer_steps
        inner = getattr(run.optimizer, "optimizer", run.optimizer)  # accelerate's wrapper has it inside
        others = sum(manager.current().hook.state_bytes(models=self.models))
        require_room_for_all(self.writer, capture.expected_bytes(self.models, inner) + others)
        for number in SIGNALS:
            signal.signal(number, self.asked_to_stop)

    def asked_to_stop(self, number, _frame) -> None:
        """Remember the first signal; a later one ends the process."""
        now = time.monotonic()
        if self.asked is None:
            self.asked = now
            # Not print: the signal may have come in the middle of one.
            os.write(1, f"{signal.Signals(number).name}: stopping after this optimizer step\n".encode())
        elif now - self.asked > ONE_REQUEST:
            os._exit(128 + number)

    @hookimpl
    def step_reports(self):
        return {REPORT: self.asked is not None}

    @hookimpl(trylast=True)
    def optimizer_step_ended(self, run):
        """After the plugins that write down the step."""
        every = run.args.states_every_n_steps
        if run.reported[REPORT]:
            self.stop(run)
        elif every and run.optimizer_steps % every == 0:
            self.save(run)

    def stop(self, run) -> None:
        """Save and leave. Raises Stopped on every process."""
        self.save(run, wait=True)
        assert self.writer is not None
        whole = (self.writer.folder / states.name_of(run.optimizer_steps)).is_dir()
        said = "RESUME=auto goes on" if from_main(run.accelerator, whole) else "but this step could not be saved"
        run.accelerator.end_training()
        raise Stopped(f"stopped at optimizer step {run.optimizer_steps:,} as asked; {said}")

    @hookimpl
    def epoch_ended(self):
        """Wait for the state under way: the next epoch may fork workers, where its locks stay shut for ever."""
        assert self.writer is not None
        self.writer.join_all()

    @hookimpl
    def training_ends(self, run):
        if run.optimizer_steps != self.saved:
            self.save(run, wait=True)
        assert self.writer is not None
        self.writer.join_all()

    def save(self, run, wait: bool = False) -> None:
        """Save a state of this moment. NotFinite where a weight is no number: it would spoil the last good one.

        UserError where the metadata were overwritten under the run: nobody knows since when it has read what.
        """
        from extensions.resume import capture

        run.dataloader.dataset.metadata.require_untouched()
        capture.require_finite(run, self.models)
        record = manifest.read(run.args.run_folder)
        facts = Description(
            run=record.run or None if record else None,
            optimizer_steps=run.optimizer_steps,
            micro_steps=run.micro_steps,
            samples=run.samples,
            data_steps=run.optimizer_steps - run.position.places.ahead,
            epoch=run.optimizer_steps // run.optimizer_steps_per_epoch,
            seed=run.dataloader.dataset.seed,
            skipped=[
                list(each) for each in skipped.listed(run.position.places.skipped, run.dataloader.dataset.metadata)
            ],
            made_with=run.position.identity,
        )
        parts = capture.values(run, self.models)
        parts += [part for added in manager.current().hook.state_parts(run=run) for part in added]
        writers = [process for process, some in enumerate(from_all(run.accelerator, bool(parts))) if some]
        assert self.writer is not None
        self.writer.save(facts, parts, writers, wait)
        self.saved = run.optimizer_steps

    @hookimpl
    def run_ended(self):
        if self.writer is not None:
            self.writer.join()
