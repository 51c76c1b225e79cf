"""The patched sd-scripts with its plugins, and sd-scripts as it is at the pin, on the same work, turn by turn.

    .venv/bin/python -m benchmarks.upstream [--size tiny|mid|both] [--rounds 5]

Run 25022601's flags in float32 with torch's AdamW, one process, one thread, and all plugins of its launcher, set so
that they leave the work as it is: 100 % of the U-Net, upstream's cut of the texts, as many tokens in each. The
pristine script reads our data set, too, and nothing else of ours. Who goes first changes every round, and only ratios
within a round are compared.
"""

import statistics
import sys
from pathlib import Path

from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds the package, too
from benchmarks.trainers import MID_CHANNELS, STEPS, UNITS, Measured, asked_for, measured, timed, traced
from extensions import manager
from extensions.base.paths import SUBMODULE
from extensions.base.reporting import exit_code_of
from extensions.flags import settings
from extensions.launch import command
from extensions.launch.stages import changed
from extensions.upstream import tree

PRISTINE, PATCHED = NAMES = ("pristine", "patched")
TARGET = 1.01  # of an optimizer step; our processes start other things, too, and say how long that takes
SAME_WORK = {"unet_percent": "100", "token_chunks": "upstream", "max_token_length": "225"}
Command = tuple[list[str], dict[str, str]]  # and its environment


def commands(size: str, folder: Path) -> dict[str, Command]:
    """The command of each."""
    asked = asked_for(size, folder)
    flags = asked.flags
    for name, value in SAME_WORK.items():
        flags = flags.with_(name, value)
    plugins = settings.of_words(flags).plugins
    ours = {flag.name for flag in manager.flags_of(plugins)} | {"extensions", "run_folder", "enable_wildcard"}
    script = [sys.executable, "-m", "tests.helpers.pristine_clock", str(SUBMODULE)]
    channels = {"CHANNELS": str(MID_CHANNELS)} if size == "mid" else {}
    return {
        PRISTINE: ([*script, *flags.without(*ours).words()], traced(asked) | channels),
        PATCHED: (command.build(changed(asked, flags=flags), tree.ensure()), traced(asked)),
    }


def compare(size: str, rounds: int, folder: Path) -> list[dict[str, Measured]]:
    """One measurement of each a round."""
    found, both = [], commands(size, folder)
    for number in range(rounds):
        order = NAMES if number % 2 == 0 else NAMES[::-1]
        found.append({name: timed(*both[name], STEPS[size]) for name in order})
        print(f"{size}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found


def table(size: str, found: list[dict[str, Measured]]) -> Table:
    """Medians, and the ratios patched / pristine of the rounds."""
    made = Table(
        "", *NAMES, "ratio (least to greatest)", title=f"{size}, {len(found)} rounds; target {TARGET} a step"
    )
    for name, unit in UNITS.items():
        medians = [statistics.median(each[which].of(name) for each in found) for which in NAMES]
        ratios = sorted(each[PATCHED].of(name) / each[PRISTINE].of(name) for each in found)
        middle = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        made.add_row(unit, *(f"{median:.2f}" for median in medians), middle)
    return made


def main(arguments: list[str]) -> int:
    """Measure and print."""
    return measured(arguments, __doc__.splitlines()[0], compare, table)


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
