"""Start the reference trainer under the plugin manager.

    python -m extensions.reference [--only-check] SCRIPT [flags]

SCRIPT is the name of the sd-scripts trainer that it stands for: `sdxl_train.py` or `fine_tune.py` (SD2). With
--only-check the flags are parsed and checked, and nothing is loaded.
"""

import sys
from functools import partial

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.reporting import exit_with
from extensions.optimizers import trial as optimizer_trial
from extensions.reference import flags
from extensions.trainer import arguments
from extensions.trainer import checks as common_checks


def main(argv: list[str]) -> None:
    """Parse, check, train. UserError for whatever the user can mend."""
    only_check, (script, *words) = arguments.only_check(argv or ["(none)"])
    if script not in flags.SCRIPTS:
        known = " and ".join(flags.SCRIPTS)
        raise UserError(f"the reference trainer has no script {script}; a launcher calls {known}")
    plugins = manager.install(arguments.listed_plugins(words))
    parser = flags.parser(script)
    arguments.extend(parser, plugins)
    args = flags.parse(parser, words)
    plugins.hook.check_arguments(args=args)
    common_checks.check(args, plugins.names)
    flags.check(args, script)
    manager.set_args(args)

    from extensions.reference import optimizers  # imports diffusers: after the flags are known good

    optimizer_trial.check(args, optimizers.optimizer, partial(optimizers.lr_scheduler, num_processes=1))
    if only_check:
        return

    from extensions.reference import train

    train.train(args, flags.SCRIPTS[script])


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
