"""Starts the reference trainer under the plugin manager.

    python -m extensions.reference [--only-check] SCRIPT [flags]

SCRIPT is the name of the sd-scripts trainer that it stands for: `sdxl_train.py` or `fine_tune.py` (SD2). With
--only-check the flags are parsed and checked, and nothing is loaded.
"""

import argparse
import sys

from extensions.base.errors import UserError
from extensions.reference import flags
from extensions.trainer import arguments, start


class Reference:
    """The reference trainer. Its optimizers import diffusers: only after the flags are known good."""

    def parser(self, script: str) -> argparse.ArgumentParser:
        if script not in flags.SCRIPTS:
            known = " and ".join(flags.SCRIPTS)
            raise UserError(f"the reference trainer has no script {script}; a launcher calls {known}")
        self.script = script
        return flags.parser(script)

    def parse(self, parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
        return flags.parse(parser, words)

    def check(self, args: argparse.Namespace) -> None:
        flags.check(args, self.script)

    def optimizer(self, args: argparse.Namespace, groups: list[dict]):
        from extensions.reference import optimizers

        return optimizers.optimizer(args, groups)

    def schedule(self, args: argparse.Namespace, optimizer):
        from extensions.reference import optimizers

        return optimizers.lr_scheduler(args, optimizer, num_processes=1)

    def train(self, args: argparse.Namespace) -> None:
        from extensions.reference import train

        train.train(args, flags.SCRIPTS[self.script])


def main(argv: list[str]) -> None:
    """Train. UserError for whatever the user can mend."""
    only_check, (script, *words) = arguments.of_program(argv, "extensions.reference", "SCRIPT")
    start.main(Reference(), script, words, only_check)


def run(argv: list[str]) -> int:
    """Return `main` as a program; the exit code."""
    return start.run(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
