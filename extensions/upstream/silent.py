"""Watches that the seams are called when they must be: where upstream moves its code, a wrapper may stand unused.

Without this such a run would train for weeks as if what it lists were not there.
"""

import argparse
import sys
from collections.abc import Iterable

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.processes import is_first
from extensions.hookspecs import hookimpl
from extensions.upstream import fired
from extensions.upstream.seam import END, EPOCH_SAVE, SAVE, START, STEP_SAVE, TABLE, UPDATE, Seam


class Watch:
    """Registered by the start of sd-scripts' trainers, whatever a run lists.

    A seam that is silent is said once; where training would differ the run ends before its first update.
    """

    def __init__(self, seams: Iterable[Seam], args: argparse.Namespace, family: str):
        expected = (seam for seam in seams if seam.fires.family in ("", family))
        self.waiting = [seam for seam in expected if seam.fires.asked(args)]
        self._hooks: list = []

    @hookimpl(tryfirst=True)
    def training_begins(self, run):
        self.require(START)
        optimizer = run.optimizer
        while hasattr(optimizer, "optimizer"):  # accelerate's wrapper around it, DeepSpeed's around that
            optimizer = optimizer.optimizer
        if hasattr(optimizer, "register_step_pre_hook"):
            self._hooks.append(optimizer.register_step_pre_hook(lambda *_: self.before_first_update()))

    def before_first_update(self) -> None:
        """Look after the first forward and backward pass, at the last moment; then no more."""
        while self._hooks:
            self._hooks.pop().remove()
        self.require(UPDATE)

    @hookimpl(tryfirst=True)
    def micro_step_ended(self, run):
        self.before_first_update()  # of an optimizer that steps by itself, in the backward pass

    @hookimpl
    def optimizer_step_ended(self, run):
        every = run.args.save_every_n_steps
        if every and run.optimizer_steps % every == 0:
            self.look_at_saves(STEP_SAVE)

    @hookimpl
    def epoch_ended(self, run, epoch):
        every, done = run.args.save_every_n_epochs, epoch + 1
        if every and done % every == 0 and done < run.epochs:
            self.look_at_saves(EPOCH_SAVE)

    @hookimpl
    def run_ended(self, error):
        if error is None:
            self.look_at_saves(END)

    def look_at_saves(self, moment: str) -> None:
        """Only the first process saves."""
        if is_first():
            self.require(moment, SAVE)

    def require(self, *moments: str) -> None:
        """Say which seams were not called by now, each once. UserError where training would differ."""
        due = [seam for seam in self.waiting if seam.fires.moment in moments]
        self.waiting = [seam for seam in self.waiting if seam not in due]
        silent = [seam for seam in due if not fired.was_called(seam.path)]
        for seam in filter(differs, silent):
            raise UserError(f"{told(seam)}; training would not be what was asked for: take the pinned sd-scripts")
        for seam in silent if is_first() else ():
            print(f"warning: {told(seam)}", file=sys.stderr, flush=True)


def differs(seam: Seam) -> bool:
    """Tell whether training is another one where this seam is silent."""
    hook = seam.fires.hook
    answered = not hook or bool(getattr(manager.current().hook, hook).get_hookimpls())
    return seam.fires.differs and answered


def told(seam: Seam) -> str:
    """Return what is said of a silent seam."""
    return f"sd-scripts did not call {seam.path} {seam.fires.moment}; we wrap it for this: {seam.reason} ({TABLE})"
