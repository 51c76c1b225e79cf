"""Starts one of sd-scripts' trainers under the plugin manager.

    python -m extensions.upstream [--only-check] TREE SCRIPT [flags]

TREE is a checkout of sd-scripts (the patched one, normally); SCRIPT one of its trainers, `sdxl_train.py`
or `fine_tune.py`. With --only-check the flags are parsed and checked, and nothing is loaded.
"""

import argparse
import importlib
import sys
import traceback
from pathlib import Path

from extensions import loop, manager
from extensions.base.errors import UserError, english
from extensions.flags import trackers
from extensions.trainer import arguments, base_model, config_file, start


class Upstream:
    """One of sd-scripts' trainers, from a tree. What it does is what the script itself does when it is run."""

    def __init__(self, tree: str):
        self.tree = tree

    def parser(self, script: str) -> argparse.ArgumentParser:
        """Imports upstream's library, after the plugins are known good."""
        if not (Path(self.tree) / script).is_file():
            raise UserError(f"sd-scripts has no trainer {script}; a launcher calls sdxl_train.py or fine_tune.py")
        sys.path.insert(0, self.tree)
        from extensions.upstream import seams

        seams.install()
        self.trainer = importlib.import_module(Path(script).stem)
        seams.install()  # once more: in what the trainer has from elsewhere
        return self.trainer.setup_parser()

    def parse(self, parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
        sys.argv = [f"{self.trainer.__name__}.py", *words]  # --config_file is read from there
        args = parser.parse_args(words)
        self.trainer.train_util.verify_command_line_training_args(args)
        if args.config_file and not args.output_config:
            config_file.check(args.config_file, parser)
        return self.trainer.train_util.read_config_from_file(args, parser)

    def check(self, args: argparse.Namespace) -> None:
        """Refuse what the launcher, the plugins and the trial do not."""
        trackers.check(args.log_with)

    def optimizer(self, args: argparse.Namespace, groups: list[dict]):
        """Without the seam, which is about the run's models."""
        return self.trainer.train_util.get_optimizer.__wrapped__(args, groups)[2]

    def schedule(self, args: argparse.Namespace, optimizer):
        return self.trainer.train_util.get_scheduler_fix(args, optimizer, 1)

    def train(self, args: argparse.Namespace) -> None:
        from extensions.upstream import pickles, seams, silent, states

        family = "sd2" if getattr(args, "v2", False) else "sdxl"
        base_model.check_args(args, family)
        if getattr(args, "resume", None) and not args.resume_from_huggingface:
            pickles.check_state(args.resume, args.deepspeed)
        manager.current().register("(seams)", silent.Watch(seams.SEAMS, args, family))
        manager.current().register("(states of all processes)", states.StatesOfAllProcesses())
        try:
            self.trainer.train(args)
        except (AssertionError, ValueError) as error:
            if reason := refused(error, self.tree):
                raise UserError(reason) from None
            raise


def refused(error: Exception, tree: str) -> str:
    """Return what sd-scripts itself refuses before it trains, in one line with its place; "" for any other fault.

    It speaks to the user in the texts of its assertions. Once it trains, a fault is ours or its own.
    """
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    path, said = Path(frame.f_code.co_filename), english(error)
    if not said or loop.current() is not None or Path(tree).resolve() not in path.resolve().parents:
        return ""
    return f"{said} (sd-scripts, {path.name} line {line})"


def main(argv: list[str]) -> None:
    """Train. UserError for whatever the user can mend; the trainer's own errors pass."""
    only_check, (tree, script, *words) = arguments.of_program(argv, "extensions.upstream", "TREE", "SCRIPT")
    start.main(Upstream(tree), script, words, only_check)


def run(argv: list[str]) -> int:
    """Return `main` as a program; the exit code."""
    return start.run(lambda: main(argv))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
