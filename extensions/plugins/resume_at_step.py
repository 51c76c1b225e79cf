"""Starts a run at an optimizer step and stops it at one, and keeps the order of its data exact between.

    --initial_step=N             the counter starts at N
    --skip_until_initial_step    so do the data: what the first N steps saw is passed over
    --stop_at_step=M             save and end at step M of a longer schedule
    --resume_mode=weights        weights of the base model, a new optimizer: what the production segments did
    --resume_mode=exact          everything of the training state --resume_from; N is the state's
    --data_order=dealt           an update's batches go to the ranks by their cost (extensions/data/dealing.py)
    --batch_texts=like           texts of like length meet in a batch (extensions/data/like_texts.py)

All numbers are optimizer steps. Upstream's own step resume (of its LoRA trainer) counts micro-steps here and
optimizer steps there; with accumulation 4 a start at 240,000 of 778,000 leaves nothing to train.

The data come in the order of `extensions/data/order.py`, which is computed for any step as fast as for the first.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.processes import from_main
from extensions.data import DATASET, like_texts
from extensions.data.dealing import AS_DRAWN, DEALT
from extensions.flags import settings, values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.resume import identity, pending_checkpoints, same_start, schedule, skipped, states
from extensions.resume.description import State

if TYPE_CHECKING:
    from extensions.data.loader import Places, PlacesLoader
    from extensions.model.models import Models


class Plugin:
    """Moves counter, schedule and data to a step, or puts a whole training state back."""

    claims = ("which batches are trained",)
    models: Models
    flags = (
        Flag("initial_step", values.whole(0), "that count as done", unit="optimizer steps", neutral=True),
        Flag("skip_until_initial_step", bool, "pass over the data of the steps that are done", neutral=True),
        Flag("stop_at_step", values.whole(0), "save and end at this one", unit="optimizer step", neutral=True),
        Flag(
            "resume_mode",
            str,
            "weights: the base model's, with a new optimizer; exact: everything of --resume_from",
            default="weights",
            choices=("weights", "exact"),
            neutral=True,
        ),
        Flag("resume_from", Path, "the training state (a folder) to go on from exactly", neutral=True),
        Flag(
            "resume_allow",
            str,
            f"what may differ from the state's run: any of {', '.join(identity.WHAT)}, comma-separated",
            default="",
            neutral=True,
        ),
        Flag(
            "data_order",
            str,
            "which rank trains which batch of an update: as drawn, or dealt by cost, so that none waits long",
            default=AS_DRAWN,
            choices=(AS_DRAWN, DEALT),
        ),
        Flag(
            "batch_texts",
            str,
            "which images of a bucket meet in a batch: as drawn, or such with texts of like length",
            default=like_texts.AS_DRAWN,
            choices=(like_texts.AS_DRAWN, like_texts.LIKE),
        ),
    )

    def __init__(self):
        self.state: State | None = None
        self.loader: PlacesLoader | None = None
        self.streams: dict | None = None  # random streams of the state, until the first batch is read

    @hookimpl(tryfirst=True)  # before a plugin that changes the flags
    def check_arguments(self, args):
        self.launched = identity.of_launch(args)
        if args.dataset_class != DATASET:
            raise UserError(f"resume_at_step orders the data of one data set; give --dataset_class={DATASET}")
        like_texts.require_use(args, settings.of_args(args))
        self.stop, self.skip = args.stop_at_step, args.skip_until_initial_step
        self.start = args.initial_step or 0
        if args.resume_mode == "exact":
            self.check_exact(args)
        elif args.resume_from:
            raise UserError(f"--resume_from={args.resume_from} needs --resume_mode=exact; add it, or drop the state")
        only_owes = self.stop == self.start and self.owes_last(args)
        if self.stop is not None and self.stop <= self.start and not only_owes:
            raise UserError(
                f"--stop_at_step={self.stop} is not after optimizer step {self.start}, where the run starts"
            )
        if self.skip and not self.start:
            raise UserError("--skip_until_initial_step without --initial_step has nothing to skip; drop it")

    def check_exact(self, args):
        """Read the state's description; its step is where the run starts."""
        if not args.resume_from:
            raise UserError("--resume_mode=exact needs --resume_from=<state folder>, or RESUME=auto")
        self.allowed = set(filter(None, args.resume_allow.split(",")))
        if odd := self.allowed - set(identity.WHAT):
            raise UserError(f"--resume_allow={sorted(odd)[0]} is unknown; there is {', '.join(identity.WHAT)}")
        self.state = states.read(args.resume_from)
        if args.initial_step not in (None, self.state.optimizer_steps):
            raise UserError(
                f"--initial_step={args.initial_step}, but {self.state.path} was saved after optimizer step "
                f"{self.state.optimizer_steps}; drop --initial_step"
            )
        identity.require_lineage(self.state, args)
        identity.require_same(self.state, self.launched, self.allowed)
        self.start = self.state.optimizer_steps

    @hookimpl
    def models_loaded(self, models):
        self.models = models

    @hookimpl
    def first_optimizer_step(self, run):
        same_start.require(run.accelerator, self.start, self.state, run.dataloader.dataset.fingerprint)
        from extensions.loop import Position

        run.position = Position(self.places(run, run.dataloader.dataset), identity.of_run(self.launched, run))
        if self.state:  # all else was compared, and told, before anything was loaded
            identity.require_same(self.state, {"data": run.position.identity["data"]}, self.allowed)
        left = self.end(run) - self.start
        if left < 0 or not left and not from_main(run.accelerator, self.owes_last(run.args)):
            raise UserError(
                f"optimizer step {self.start} is not before the end of the run ({self.end(run)} "
                "optimizer steps); nothing is left to train"
            )
        if self.start and not self.state:
            schedule.forward(run, self.start)
        if self.start:
            print(f"resume_at_step: starting at optimizer step {self.start:,}", flush=True)
        return self.start

    def places(self, run, dataset) -> Places:
        """Return the order of this process's data."""
        from extensions.data.loader import Places

        ranks = run.accelerator
        of_process = (dataset, ranks.process_index, ranks.num_processes, run.args.gradient_accumulation_steps)
        passed_over, ahead = {}, 0 if self.skip else self.start
        if self.state:
            passed_over = skipped.of_state(self.state, Path(run.args.output_dir), dataset)
            ahead = self.start - self.state.facts.data_steps
        return Places(*of_process, passed_over, ahead, run.args.data_order, run.args.batch_texts)

    @hookimpl
    def training_begins(self, run):
        if self.state:
            from extensions.resume import capture

            self.streams = capture.restore(run, self.models, self.state)
            manager.current().hook.state_restored(run=run, state=self.state)
            run.micro_steps, run.samples = self.state.facts.micro_steps, self.state.facts.samples
            print(f"resume_at_step: everything of {self.state.path} is restored", flush=True)

    @hookimpl
    def epoch_range(self, run, epochs):
        """From the epoch of the next optimizer step; from the last one where its checkpoint, or the run's, is owed.

        Such an epoch has no batches left, and the trainer comes to what it does at an epoch's end.
        """
        done, steps = self.start - run.position.places.ahead, run.position.places.steps
        first = done // steps
        if done and not done % steps and (self.ended(run) or self.owes_epoch(run, first)):
            first -= 1
        return self.until_stop(run, range(first, max(epochs, first + 1)))

    def until_stop(self, run, epochs):
        for epoch in epochs:
            yield epoch
            if self.ended(run):
                return

    def owes_last(self, args) -> bool:
        """Tell whether the run that is gone on with owes its last checkpoint."""
        last = pending_checkpoints.last_name(args.output_name)
        return self.state is not None and pending_checkpoints.owed(self.state, Path(args.output_dir), last)

    def owes_epoch(self, run, epoch: int) -> bool:
        """Return the same of an epoch, from 1, alike on every process. Upstream saves none of the last one."""
        args, every = run.args, run.args.save_every_n_epochs
        if self.state is None or not every or epoch % every or epoch >= run.epochs:
            return False
        name = pending_checkpoints.epoch_name(args.output_name, epoch)
        return from_main(run.accelerator, pending_checkpoints.owed(self.state, Path(args.output_dir), name))

    def end(self, run) -> int:
        """Return the optimizer step at which this launch ends."""
        return run.args.max_train_steps if self.stop is None else min(self.stop, run.args.max_train_steps)

    def ended(self, run) -> bool:
        # Upstream's loop counts epochs, and leaves only the inner loop when the last step is done.
        return run.optimizer_steps >= self.end(run)

    @hookimpl
    def optimizer_step_ended(self, run):
        if self.ended(run):
            self.leave_no_half_epoch(run)

    def leave_no_half_epoch(self, run) -> None:
        """Leave out the checkpoint of an epoch that the run ends amid; it is saved as the last."""
        if (run.optimizer_steps - run.position.places.ahead) % run.position.places.steps:
            run.args.save_every_n_epochs = None

    @hookimpl
    def epoch_batches(self, run, epoch):
        run.dataloader.dataset.metadata.require_untouched()
        done = max(0, self.start - run.position.places.ahead - epoch * run.position.places.steps)
        if done:
            print(f"resume_at_step: {done:,} optimizer steps of epoch {epoch + 1} are done", flush=True)
        run.position.places.begin(epoch, done)
        if self.loader is None:
            from extensions.data.loader import PlacesLoader

            workers = run.args.max_data_loader_n_workers, run.args.persistent_data_loader_workers
            self.loader = PlacesLoader(run.dataloader.dataset, run.position.places, *workers)
        return self.batches(run, self.loader)

    def batches(self, run, loader: PlacesLoader):
        if self.ended(run):  # at the start already: only a checkpoint is owed
            self.leave_no_half_epoch(run)
            return
        batches = iter(loader)
        if self.streams is not None:
            # Trainer and plugins have drawn numbers of their own since, which the unbroken run has not.
            from extensions.resume import randomness

            randomness.restore(self.streams)
            self.streams = None
        for batch in batches:
            run.position.keys.append(batch["image_keys"])
            yield batch
            if self.ended(run):
                return

    @hookimpl
    def run_ended(self):
        if self.loader is not None:
            self.loader.close()
