"""The patched sd-scripts and the reference trainer on the same work, turn by turn.

    .venv/bin/python -m benchmarks.trainers [--size tiny|mid|both] [--rounds 5]

Run 25022601's flags (71 % of the U-Net, both text encoders, dual tags, chunks, accumulation 4) in float32
with torch's AdamW, one process, one thread. Who goes first changes every round, and only ratios within a
round are compared: a machine that is slow for a while is slow for both.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds the package, too
from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.base.reporting import exit_code_of
from extensions.launch import command, tiny
from extensions.launch.stages import Asked, changed
from extensions.model.checkpoint import UNET
from extensions.model.shapes import prefixed
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.standins import model_sdxl, recipe
from extensions.standins.weights import by_suffix, fill, save_checkpoint
from extensions.upstream import tree
from tests.proofs import parity

TRAINERS = ("sd-scripts", "reference")
CASE = parity.Case("benchmark", "25022601")
STEPS = {"tiny": 6, "mid": 5}  # optimizer steps a process; the first is not counted
MID_CHANNELS = 96
TARGETS = {"step": 1.0, "start-up": 0.5, "memory": 1.0}
UNITS = {
    "step": "s an optimizer step",
    "start-up": "s to the end of the first micro-step",
    "memory": "MB at the peak",
}


@dataclass
class Measured:
    """One process. step, startup: seconds; memory: bytes of its resident set at the peak."""

    step: float
    startup: float
    memory: float

    def of(self, name: str) -> float:
        return {"step": self.step, "start-up": self.startup, "memory": self.memory / 1e6}[name]


def base_model(size: str, folder: Path) -> Path:
    """The tiny stand-in, or one with three times its channels in the U-Net."""
    ready = tiny.standins()["sdxl"]
    if size == "tiny":
        return ready
    path = folder / "mid.safetensors"
    if not path.exists():
        unet = model_sdxl.UNET
        wide = UNetSize(
            MID_CHANNELS, unet.multipliers, unet.depths, unet.middle_depth, context=unet.context, vector=unet.vector
        )
        others = {name: tensor for name, tensor in load_file(ready).items() if not name.startswith(UNET)}
        scales = by_suffix(recipe.unet_scales(MID_CHANNELS, model_sdxl.OUT_NORM))
        save_checkpoint(others | fill(prefixed(UNET, unet_shapes(wide)), scales), path)
    return path


def asked_for(size: str, folder: Path) -> Asked:
    """What one process is asked to train."""
    asked = parity.prepared(CASE, folder / "output")
    flags = asked.flags.with_("optimizer_type", "AdamW").without("optimizer_args")
    flags = flags.with_("pretrained_model_name_or_path", base_model(size, folder))
    return changed(asked, flags=flags.with_("max_train_steps", STEPS[size]))


def traced(asked: Asked) -> dict[str, str]:
    """The environment of a process that writes its hook calls."""
    return os.environ | command.environment(asked) | {"EXTENSIONS_TRACE": "1"}


def measure(size: str, folder: Path, patched: Path | None) -> Measured:
    """Start one trainer and measure it. UserError when it fails."""
    asked = asked_for(size, folder)
    return timed(command.build(asked, patched), traced(asked), STEPS[size])


def timed(line: list[str], environment: dict[str, str], steps: int) -> Measured:
    """Run a command, and read off its hook calls when what was done. UserError when it fails."""
    began = time.monotonic()
    process = subprocess.Popen(line, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    first, updates, tail = None, [], b""
    for text in process.stderr:
        now = time.monotonic() - began
        if b"[hook] micro_step_ended(" in text:
            first = first or now
        if b"[hook] optimizer_step_ended(" in text:
            updates.append(now)
        tail = text
    _, status, usage = os.wait4(process.pid, 0)
    if status or len(updates) < steps:
        raise UserError(f"the process failed: {tail.decode(errors='replace').strip()}")
    between = [later - earlier for earlier, later in zip(updates, updates[1:], strict=False)]
    return Measured(statistics.median(between), first, usage.ru_maxrss * 1024)


def compare(size: str, rounds: int, folder: Path) -> list[dict[str, Measured]]:
    """One measurement of each trainer a round."""
    patched = {"sd-scripts": tree.ensure(), "reference": None}
    found = []
    for number in range(rounds):
        order = TRAINERS if number % 2 == 0 else TRAINERS[::-1]
        found.append({name: measure(size, folder, patched[name]) for name in order})
        print(f"{size}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found


def table(size: str, found: list[dict[str, Measured]]) -> Table:
    """Medians, and the ratios reference / sd-scripts of the rounds."""
    made = Table("", *TRAINERS, "ratio (least to greatest)", "target", "", title=f"{size}, {len(found)} rounds")
    for name, target in TARGETS.items():
        medians = [statistics.median(each[trainer].of(name) for each in found) for trainer in TRAINERS]
        ratios = sorted(each["reference"].of(name) / each["sd-scripts"].of(name) for each in found)
        ratio = statistics.median(ratios)
        made.add_row(
            UNITS[name],
            *(f"{median:.2f}" for median in medians),
            f"{ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            f"{target:.2f}",
            "met" if ratio <= target else "not met",
        )
    return made


def measured(arguments: list[str], about: str, compare: Callable, table: Callable) -> int:
    """Measure and print what `compare` and `table` make of each size; about: in a line, for --help.

    The figures are no test: the exit code does not depend on them.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--size", choices=[*STEPS, "both"], default="both")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(arguments)
    if asked.rounds < 1:
        raise UserError(f"--rounds={asked.rounds}: give 1 or more")
    for size in STEPS if asked.size == "both" else [asked.size]:
        with tempfile.TemporaryDirectory() as folder:
            Console(width=118).print(table(size, compare(size, asked.rounds, Path(folder))))
    return 0


def main(arguments: list[str]) -> int:
    """Measure and print."""
    return measured(arguments, __doc__.splitlines()[0], compare, table)


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
