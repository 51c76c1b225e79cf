"""Starts both trainers, the only main: parses, checks, tries, trains, and tells the plugins how it ended."""

import argparse
import getpass
import os
import re
import tempfile
from collections.abc import Callable
from typing import Any, Protocol

from extensions import manager
from extensions.base import processes, secrets
from extensions.base.errors import UserError, no_room
from extensions.base.reporting import exit_with
from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers import trial
from extensions.trainer import arguments, checks


class Trainer(Protocol):
    """What a trainer brings along. Each method is called once, in this order."""

    def parser(self, script: str) -> argparse.ArgumentParser:
        """Return the flags of a script. UserError for one that the trainer does not have."""

    def parse(self, parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
        """Return the flags, those of a configuration file among them."""

    def check(self, args: argparse.Namespace) -> None:
        """Raise UserError for what this trainer alone refuses, before anything is loaded."""

    def optimizer(self, args: argparse.Namespace, groups: list[dict]) -> Any:
        """Return the optimizer over parameter groups."""

    def schedule(self, args: argparse.Namespace, optimizer: Any) -> Any:
        """Return its learning-rate schedule."""

    def train(self, args: argparse.Namespace) -> None:
        """Train."""


def main(trainer: Trainer, script: str, words: list[str], only_check: bool = False) -> None:
    """Train a script's flags. UserError for whatever the user can mend.

    only_check: end once the flags are parsed and checked; nothing is loaded.
    """
    weights_only()
    make_compilers_folder()
    words, unset = secrets.revealed(words, os.environ)
    if unset:
        raise UserError(f"{unset}: that variable is not set; export it, or take the flag out")
    plugins = manager.install(arguments.listed_plugins(words))
    parser = arguments.extend(trainer.parser(script), plugins)
    args = trainer.parse(parser, words)
    arguments.require_listed(args, plugins.names)
    arguments.of_their_kinds(args, plugins.names)
    args.optimizer_type = optimizer_facts.present_name(args.optimizer_type)
    plugins.hook.check_arguments(args=args)
    config = checks.check(args)
    trainer.check(args)
    trial.check(args, config.optimizer, trainer.optimizer, trainer.schedule)
    if only_check:
        return
    from extensions.trainer import tracking  # and with it accelerate, which a check alone is spared

    manager.set_args(args)
    tracking.install(args.run_folder)
    trainer.train(args)


def weights_only() -> None:
    """Keep every torch.load of this process to weights, also where a library asks for more: a pickle can run code."""
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"


def make_compilers_folder() -> None:
    """Make the folder that torch's compiler makes when it is imported, as it does. OSError where a disk is full.

    A library that tries the import a second time would hide why the first one failed.
    """
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    try:
        if not folder:
            user = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
            folder = os.path.join(tempfile.gettempdir(), f"torchinductor_{user}")
        os.makedirs(folder, exist_ok=True)
    except (OSError, KeyError) as error:  # KeyError: a user without a name
        if no_room(error):
            raise


def run(begin: Callable[[], None]) -> int:
    """Return `begin`, a trainer's main, with the end of the run told to the plugins; the exit code."""
    error = None
    try:
        begin()
    except BaseException as caught:
        error = caught
    manager.current().hook.run_ended(error=error)
    processes.settle()
    return exit_with(error)
