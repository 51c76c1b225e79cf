"""Training states to resume from exactly, at intervals and when the run is asked to stop.

    --states_every_n_steps=N   optimizer steps between states; 0: only at the end and when asked to stop
    --keep_states=N            the newest N stay

A state is a folder below <output_dir>/states (`extensions/resume/states.py` says what is in it). SIGTERM, SIGINT or
SIGHUP: the optimizer step is finished on every process, a state saved, and the run ends with exit code 75; a second
signal ends it at once. At SDXL's size a state takes 10 to 25 GB; it is copied to memory and written beside the
training.
"""

import os
import signal
import time
from pathlib import Path

from extensions.base import saving
from extensions.base.errors import Stopped, UserError
from extensions.base.processes import any_process, from_main
from extensions.base.shared_exit import ONE_REQUEST
from extensions.hookspecs import hookimpl
from extensions.resume import capture, identity, skipped, states
from extensions.resume.writer import Writer, require_room_for_all

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Plugin:
    """Saves; changes nothing of the training."""

    claims = ("training states",)

    def __init__(self):
        self.models, self.writer, self.saved, self.asked = None, None, None, None

    @hookimpl
    def add_arguments(self, parser):
        group = parser.add_argument_group("save_states")
        group.add_argument(
            "--states_every_n_steps",
            type=int,
            default=1000,
            help="optimizer steps between training states; 0: only at the end and when asked to stop",
        )
        group.add_argument("--keep_states", type=int, default=2, help="how many of the newest states stay")

    @hookimpl
    def check_arguments(self, args):
        if "resume_at_step" not in (args.extensions or "").split(","):
            raise UserError("save_states needs resume_at_step, which orders the data; add it to --extensions")
        if args.states_every_n_steps < 0:
            raise UserError(
                f"--states_every_n_steps={args.states_every_n_steps} is negative; 0 saves at the end only"
            )
        if args.keep_states < 1:
            raise UserError(f"--keep_states={args.keep_states} would keep none; give at least 1")
        if not args.output_dir:
            raise UserError("save_states needs --output_dir, where the states go")

    @hookimpl
    def models_loaded(self, models):
        self.models = models

    @hookimpl
    def training_begins(self, run):
        output = Path(run.args.output_dir)
        if run.accelerator.is_main_process:
            saving.remove_left(output)
        folder = states.folder_of(output)
        self.writer = Writer(folder, run.args.keep_states, run.accelerator)
        self.saved = run.optimizer_steps
        inner = getattr(run.optimizer, "optimizer", run.optimizer)  # accelerate's wrapper has it inside
        require_room_for_all(self.writer, capture.expected_bytes(self.models, inner))
        for number in SIGNALS:
            signal.signal(number, self.asked_to_stop)

    def asked_to_stop(self, number, _frame) -> None:
        """The first signal is remembered, a later one ends the process."""
        now = time.monotonic()
        if self.asked is None:
            self.asked = now
            # Not print: the signal may have come in the middle of one.
            os.write(1, f"{signal.Signals(number).name}: stopping after this optimizer step\n".encode())
        elif now - self.asked > ONE_REQUEST:
            os._exit(128 + number)

    @hookimpl(trylast=True)
    def optimizer_step_ended(self, run):
        """After the plugins that write down the step."""
        every = run.args.states_every_n_steps
        if any_process(run.accelerator, self.asked is not None):
            self.stop(run)
        elif every and run.optimizer_steps % every == 0:
            self.save(run)

    def stop(self, run) -> None:
        """Save and leave. Raises Stopped on every process."""
        self.save(run, wait=True)
        whole = (self.writer.folder / states.name_of(run.optimizer_steps)).is_dir()
        said = "RESUME=auto goes on" if from_main(run.accelerator, whole) else "but this step could not be saved"
        run.accelerator.end_training()
        raise Stopped(f"stopped at optimizer step {run.optimizer_steps:,} as asked; {said}")

    @hookimpl
    def epoch_ended(self):
        """The next epoch may fork workers, and a forked thread would leave its locks shut for ever."""
        self.writer.join_all()

    @hookimpl
    def training_ends(self, run):
        if run.optimizer_steps != self.saved:
            self.save(run, wait=True)
        self.writer.join_all()

    def save(self, run, wait: bool = False) -> None:
        """A state of this moment. NotFinite where a weight is no number: that state would spoil the last good one.

        UserError where the metadata were overwritten under the run: nobody knows since when it has read what.
        """
        run.dataloader.dataset.metadata.require_untouched()
        capture.require_finite(run, self.models)
        facts = {
            "run": identity.manifest(run.args).get("run"),
            "optimizer_steps": run.optimizer_steps,
            "micro_steps": run.micro_steps,
            "samples": run.samples,
            "data_steps": run.optimizer_steps - run.places.ahead,
            "epoch": run.optimizer_steps // run.optimizer_steps_per_epoch,
            "seed": run.dataloader.dataset.seed,
            "skipped": skipped.listed(run.places.skipped, run.dataloader.dataset.metadata),
            "made_with": run.made_with,
        }
        processes = range(run.accelerator.num_processes)
        writers = list(processes) if capture.divided(run) else [0]
        self.writer.save(facts, capture.values(run, self.models), writers, wait)
        self.saved = run.optimizer_steps

    @hookimpl
    def run_ended(self):
        if self.writer is not None:
            self.writer.join()
