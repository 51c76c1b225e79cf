"""Averages the weights over the run, beside the training, and changes nothing of it.

    --ema=each                 averages beside each checkpoint; last: beside the last one; none: in states alone
    --ema_every_n_steps=10     optimizer steps between updates
    --ema_decay=0.9999         the usual exponential average, besides
    --ema_snapshots=16         kept over the run, for `make ema`; 0: none

Two averages by power functions, of 0.05 and 0.10 of the run, in fp32, of what trains, in the processor's memory: the
ranks of a machine share them. They are in training states, go on exactly from one with any number of processes, and
begin at its step where a state has none. docs/averages.md has the sums.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING

from extensions.averages import profiles
from extensions.base.errors import UserError
from extensions.base.processes import from_main
from extensions.flags import values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl

if TYPE_CHECKING:
    from extensions.averages.tracks import Tracks
    from extensions.model.models import Models
    from extensions.resume.description import State

EACH, LAST, NONE = WHEN = ("each", "last", "none")
FACTS = "ema.safetensors"  # of a training state; ema-<rank>.safetensors are the shares


def decay(text: str) -> float:
    """Return the factor of an exponential average at each optimizer step."""
    value = values.real(text)
    if not 0 < value < 1:
        raise ValueError("not a decay above 0 and below 1")
    return value


class Plugin:
    """Averages; changes nothing of the training."""

    neutral = True
    models: Models
    tracks: Tracks
    flags = (
        Flag("ema", str, "which checkpoints get averages beside them", default=EACH, choices=WHEN, neutral=True),
        Flag(
            "ema_every_n_steps", values.whole(1), "between updates", default=10, unit="optimizer steps", neutral=True
        ),
        Flag("ema_decay", decay, "of the usual exponential average, beside the two others", unit="of an optimizer "
             "step", neutral=True),
        Flag("ema_snapshots", values.whole(0), "kept over the run, for make ema; 0: none", default=16, neutral=True),
    )  # fmt: skip

    def __init__(self):
        self.begun = False
        self.state: State | None = None
        self.saved: list[Path] = []  # checkpoints that wait for their averages
        self.marks: list[int] = []
        self.kept: int | None = None  # step of the newest snapshot
        self.ended = False

    @hookimpl
    def check_arguments(self, args):
        self.decay = args.ema_decay
        if not args.output_dir:
            raise UserError("ema needs --output_dir, where the averages go")
        if getattr(args, "save_model_as", None) not in (None, "safetensors"):
            raise UserError(f"--save_model_as={args.save_model_as}: averages are saved as safetensors; drop it")
        if getattr(args, "deepspeed", False) and args.zero_stage == 3:
            raise UserError("--zero_stage=3 divides the weights, which ema reads whole; give --zero_stage=2")

    @hookimpl
    def models_loaded(self, models):
        self.models = models

    @hookimpl(trylast=True)
    def optimizer_built(self, optimizer):
        """Let every step wait until the weights that it will change are copied."""
        inner = optimizer.step

        def step(_optimizer, *arguments, **keywords):
            if self.begun:
                self.tracks.before_step()
            return inner(*arguments, **keywords)

        optimizer.step = MethodType(step, optimizer)

    @hookimpl
    def state_restored(self, state):
        self.state = state

    @hookimpl(trylast=True)  # with the weights of the training state
    def training_begins(self, run):
        from extensions.averages import pieces, room, snapshots
        from extensions.averages.beside import Beside
        from extensions.averages.ranks import Ranks
        from extensions.averages.tracks import Tracks

        args, output = run.args, Path(run.args.output_dir)
        ranks = Ranks(run.accelerator)
        wanted = profiles.tracked(args.ema_decay)
        divided = pieces.divided(pieces.trained(self.models), ranks.count)
        room.require_memory(run.accelerator, divided, len(wanted))
        self.tracks = Tracks(divided, ranks.me, wanted, run.optimizer_steps)
        self.begun = True
        self.resume()
        self.at_once = any(getattr(args, name, None) for name in ("fused_backward_pass", "fused_optimizer_groups"))
        self.ranks = ranks
        self.keeper = snapshots.Keeper(snapshots.folder_of(output), ranks, run.accelerator)
        self.beside = Beside(self.tracks, ranks, run.accelerator, output)
        self.plan_snapshots(run)
        if run.accelerator.is_main_process:
            self.tell(run, divided)
            self.beside.clear()
        if args.ema == EACH:
            self.save(run, from_main(run.accelerator, self.left_without(run)))

    def resume(self) -> None:
        """Take over what the training state has."""
        if self.state is None or FACTS not in self.state.facts.files:
            return
        from extensions.averages.resumed import Resumed
        from extensions.resume import parts

        try:
            resumed = Resumed(self.tracks, parts.read(self.state.file(FACTS)))
            for name in sorted(self.state.facts.files):
                if name.startswith("ema-") and resumed.names:
                    for key, tensor in parts.read_tensors(self.state.file(name), resumed.wants):
                        resumed.take(key, tensor)
            resumed.finish()
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.state.path}: its averages are damaged ({error}); take an older state") from None

    def plan_snapshots(self, run) -> None:
        """Settle when snapshots are kept, and whether the disk holds them. UserError where not."""
        from extensions.averages import room, snapshots

        args, begin = run.args, self.begin()
        end = min(args.max_train_steps, getattr(args, "stop_at_step", None) or args.max_train_steps)
        if args.ema_snapshots and end > begin:
            space = snapshots.spacing(begin, end, args.ema_snapshots, args.ema_every_n_steps)
            self.marks = list(snapshots.marks(space, end - begin))
        count = sum(mark > self.tracks.updated - begin for mark in self.marks)
        elements = sum(piece.place.count for piece in self.tracks.pieces)
        room.begin_snapshots(run.accelerator, self.keeper.folder, run.optimizer_steps, count, elements)

    def begin(self) -> int:  # no property: pluggy before 1.7 reads those while it looks for hooks
        """Return the optimizer step at which the averages by power functions began."""
        return self.tracks.begins[profiles.Power(profiles.LENGTHS[0]).name]

    def tell(self, run, divided) -> None:
        """Say what is averaged, and from where on."""
        tracks = self.tracks
        own = sum(tensor.nbytes for kept in (*tracks.kept().values(), tracks.staged) for tensor in kept)
        elements = sum(piece.place.count for piece in divided)
        if tracks.began == run.optimizer_steps and self.state is not None:
            print(f"ema: the state has no averages; they begin at optimizer step {tracks.began:,}", flush=True)
        since = ", ".join(f"{name} from optimizer step {begin:,}" for name, begin in tracks.begins.items())
        print(f"ema: {since}, of {elements:,} parameters, {own / 1e9:.2f} GB of memory a process", flush=True)

    @hookimpl
    def optimizer_step_ended(self, run):
        step, args = run.optimizer_steps, run.args
        if step % args.ema_every_n_steps == 0:
            before = self.tracks.updated
            self.tracks.update(step, self.at_once)
            if profiles.due(self.marks, before - self.begin(), step - self.begin()):
                self.snapshot(run)
        if args.save_every_n_steps and step % args.save_every_n_steps == 0:
            self.save(run, from_main(run.accelerator, self.saved))

    def snapshot(self, run) -> None:
        self.keeper.snapshot(self.tracks, run.args.ema_every_n_steps)
        self.kept = self.tracks.updated

    def save(self, run, checkpoints: list[Path]) -> None:
        """Write the averages beside these checkpoints."""
        for checkpoint in checkpoints if run.args.ema == EACH else ():
            self.beside.all(checkpoint)
        self.saved.clear()
        if run.accelerator.is_main_process and any(
            getattr(run.args, f"save_last_n_{what}", None) for what in ("steps", "epochs")
        ):
            self.beside.remove_orphans()

    def left_without(self, run) -> list[Path]:
        """Return the checkpoints of this very step whose averages a kill has cost; known on process 0."""
        return self.beside.missing(run.optimizer_steps) if run.accelerator.is_main_process and self.state else []

    @hookimpl
    def epoch_ended(self, run):
        """Besides, the next epoch may fork workers, beside which no thread must be at work."""
        self.tracks.settle()
        if run.args.save_every_n_epochs:
            self.save(run, from_main(run.accelerator, self.saved))

    @hookimpl
    def training_ends(self, run):
        self.tracks.settle()
        if self.marks and self.kept != self.tracks.updated > self.tracks.began:
            self.snapshot(run)
        if run.args.ema != NONE:
            self.beside.lay_down()
        self.ended = run.args.ema != NONE

    @hookimpl
    def checkpoint_metadata(self, optimizer_steps):
        return {"sdxl_trainer.optimizer_steps": str(optimizer_steps)}

    @hookimpl
    def checkpoint_saved(self, path):
        if self.ended:
            self.beside.last(Path(path))
        else:
            self.saved.append(Path(path))

    @hookimpl
    def state_bytes(self, models):
        from extensions.averages import pieces

        count = len(profiles.tracked(self.decay))
        return sum(each.numel() * (each.element_size() + 4 * count) for _, _, each in pieces.trained(models))

    @hookimpl
    def state_parts(self, run):
        """Each rank's own share; process 0's, and those of its machine, are all there is."""
        if not self.ranks.writes:
            return []
        facts = [(FACTS, self.tracks.facts)] if run.accelerator.is_main_process else []
        return [*facts, (f"ema-{self.ranks.me}.safetensors", self.tracks.tensors)]

    @hookimpl
    def averages(self):
        from extensions.averages.shown import shown

        return {f"ema-{name}": partial(shown, self.tracks, name, self.ranks) for name in self.tracks.profiles}

    @hookimpl
    def run_ended(self):
        if self.begun:
            self.tracks.settle()
