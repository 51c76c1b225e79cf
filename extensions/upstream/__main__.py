"""Start one of sd-scripts' trainers under the plugin manager.

    python -m extensions.upstream [--only-check] TREE SCRIPT [flags]

TREE is a checkout of sd-scripts (the patched one, normally); SCRIPT one of its trainers, `sdxl_train.py`
or `fine_tune.py`. With --only-check the flags are parsed and checked, and nothing is loaded. The calls at the
end of `main` are what the script itself does when it is run.
"""

import importlib
import sys
import traceback
from pathlib import Path

from extensions import loop, manager
from extensions.base.errors import UserError, english
from extensions.base.reporting import exit_with
from extensions.optimizers import trial as optimizer_trial
from extensions.trainer import arguments
from extensions.trainer import checks as common_checks


def main(argv: list[str]) -> None:
    """Parse, check, train. UserError for whatever the user can mend; the trainer's own errors pass."""
    only_check, (tree, script, *flags) = arguments.only_check(argv)
    if not (Path(tree) / script).is_file():
        raise UserError(f"sd-scripts has no trainer {script}; a launcher calls sdxl_train.py or fine_tune.py")
    sys.path.insert(0, tree)
    sys.argv = [script, *flags]
    plugins = manager.install(arguments.listed_plugins(flags))

    # Imports upstream's library: after the plugins are known good.
    from extensions.upstream import seams, states, trial

    seams.install()
    trainer = importlib.import_module(Path(script).stem)
    parser = arguments.extend(trainer.setup_parser(), plugins)
    args = parser.parse_args(flags)
    trainer.train_util.verify_command_line_training_args(args)
    args = trainer.train_util.read_config_from_file(args, parser)  # before the checks: --config_file has flags, too
    plugins.hook.check_arguments(args=args)
    common_checks.check(args, plugins.names)
    optimizer_trial.check(args, trial.optimizer, trial.schedule)
    if only_check:
        return
    plugins.register("(states of all processes)", states.StatesOfAllProcesses())
    manager.set_args(args)
    try:
        trainer.train(args)
    except (AssertionError, ValueError) as error:
        if reason := refused(error, tree):
            raise UserError(reason) from None
        raise


def refused(error: Exception, tree: str) -> str:
    """What sd-scripts itself refuses before it trains, in one line with its place; "" for any other fault.

    It speaks to the user in the texts of its assertions. Once it trains, a fault is ours or its own.
    """
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    path, said = Path(frame.f_code.co_filename), english(error)
    if not said or loop.current() is not None or Path(tree).resolve() not in path.resolve().parents:
        return ""
    return f"{said} (sd-scripts, {path.name} line {line})"


def run(argv: list[str]) -> int:
    """`main` with the end of the run told to the plugins; the exit code."""
    error = None
    try:
        main(argv)
    except BaseException as caught:
        error = caught
    manager.current().hook.run_ended(error=error)
    return exit_with(error)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
