"""sd-scripts as it is at the pin, on our data set, with a line for each backward pass and optimizer step.

    python -m tests.helpers.pristine_clock SD_SCRIPTS [flags of sdxl_train.py]

For `benchmarks.upstream`: no patch, no plugin and no seam; the lines are those that EXTENSIONS_TRACE has of our runs.
"""

import runpy
import sys

import accelerate
from accelerate.optimizer import AcceleratedOptimizer

from extensions import manager
from extensions.base.paths import ROOT

DRIVER = ROOT / "tests" / "helpers" / "pristine_driver.py"


def say_after(cls, method: str, line: str, when) -> None:
    """Let a method write a line when it is done, where `when(object)` says so."""
    before = getattr(cls, method)

    def after(self, *args, **kwargs):
        result = before(self, *args, **kwargs)
        if when(self):
            print(line, file=sys.stderr, flush=True)
        return result

    setattr(cls, method, after)


def give_flags() -> None:
    """Hand the flags to the data set, as our own start does, when upstream has read them."""
    from library import train_util

    read = train_util.read_config_from_file

    def keep(args, parser):
        args = read(args, parser)
        args.skip_cache_check = True
        manager.set_args(args)
        return args

    train_util.read_config_from_file = keep


def main() -> None:
    """Run the script by the driver, which gives it the size of the model."""
    sys.path.insert(0, sys.argv[1])
    manager.install([])
    give_flags()
    say_after(accelerate.Accelerator, "backward", "[hook] micro_step_ended()", lambda _: True)
    say_after(
        AcceleratedOptimizer, "step", "[hook] optimizer_step_ended()", lambda self: self.gradient_state.sync_gradients
    )
    sys.argv[0] = str(DRIVER)
    runpy.run_path(str(DRIVER), run_name="__main__")


if __name__ == "__main__":
    main()
