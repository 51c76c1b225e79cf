"""Start a run at an optimizer step, and stop it at one.

    --initial_step=N             the counter starts at N (optimizer steps, whatever the accumulation)
    --skip_until_initial_step    the data of the first N steps are passed over, not trained again
    --stop_at_step=M             save and end at step M of a longer schedule

This is what the production segments did: weights of the previous segment, a new optimizer, the counter,
the learning-rate schedule and the position in the data carried on. Upstream's own step resume (of its
LoRA trainer) counts micro-steps here and optimizer steps there; with accumulation 4 a start at 240,000 of
778,000 leaves nothing to train. All three numbers here are optimizer steps.
"""

import warnings

from accelerate import skip_first_batches

from extensions.errors import UserError
from extensions.hookspecs import hookimpl


class Plugin:
    """Moves counter, schedule and data to a step."""

    claims = ("which batches are trained",)

    @hookimpl
    def add_arguments(self, parser):
        group = parser.add_argument_group("resume_at_step")
        group.add_argument("--initial_step", type=int, default=0, help="optimizer steps that count as done")
        group.add_argument(
            "--skip_until_initial_step",
            action="store_true",
            help="pass over the data of the steps that are done",
        )
        group.add_argument("--stop_at_step", type=int, help="save and end at this optimizer step")

    @hookimpl
    def check_arguments(self, args):
        self.start, self.stop, self.skip = args.initial_step, args.stop_at_step, args.skip_until_initial_step
        if self.start < 0:
            raise UserError(f"--initial_step={self.start} is negative; give the number of optimizer steps done")
        if self.stop is not None and self.stop <= self.start:
            raise UserError(f"--stop_at_step={self.stop} is not after --initial_step={self.start}")
        if self.skip and not self.start:
            raise UserError("--skip_until_initial_step without --initial_step has nothing to skip; drop it")

    @hookimpl
    def first_optimizer_step(self, run):
        if self.start >= run.args.max_train_steps:
            raise UserError(
                f"--initial_step={self.start} is not before the end of the run ({run.args.max_train_steps} "
                "optimizer steps); nothing is left to train"
            )
        # The schedule counts optimizer steps too; accelerate's wrapper advances it for every process.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "scheduler before optimizer": on purpose here
            for _ in range(self.start):
                run.lr_scheduler.step()
        if self.start:
            print(f"resume_at_step: starting at optimizer step {self.start:,}", flush=True)
        return self.start

    @hookimpl
    def epoch_range(self, run, epochs):
        first = self.start // run.optimizer_steps_per_epoch if self.skip else 0
        return self.until_stop(run, range(first, max(epochs, first + 1)))

    def until_stop(self, run, epochs):
        for epoch in epochs:
            if self.ended(run):
                return
            yield epoch

    def ended(self, run) -> bool:
        # Upstream's loop counts epochs, and leaves only the inner loop when the last step is done.
        end = run.args.max_train_steps if self.stop is None else min(self.stop, run.args.max_train_steps)
        return run.optimizer_steps >= end

    @hookimpl
    def epoch_batches(self, run, epoch):
        return self.batches(run, self.loader(run, epoch))

    def loader(self, run, epoch):
        """The epoch's data loader; in the first epoch without the batches that are done."""
        done = self.start - epoch * run.optimizer_steps_per_epoch
        if not self.skip or done <= 0:
            return run.dataloader
        micro_steps = done * run.args.gradient_accumulation_steps
        print(f"resume_at_step: passing over {micro_steps:,} batches of epoch {epoch + 1}", flush=True)
        return skip_first_batches(run.dataloader, micro_steps)

    def batches(self, run, loader):
        for batch in loader:
            yield batch
            if self.ended(run):
                return
