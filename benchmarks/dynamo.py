"""What compiling costs at the start: whole models, their repeated blocks, and not at all, turn by turn.

    .venv/bin/python -m benchmarks.dynamo [--rounds 3] [--backend aot_eager] [--trainer reference]

Run 25022601's flags on stand-ins in float32, one process, one thread, one chunk a text, fresh compile caches.
Only ratios within a round are compared. On a CPU with a stand-in this says how long compiling takes, and nothing
about how fast compiled code is on a GPU.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds the package, too
from benchmarks.trainers import Measured, timed
from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of
from extensions.launch import command
from extensions.launch.stages import REFERENCE, TRAINERS, changed
from extensions.upstream import tree
from tests.proofs import parity

STEPS = 2  # optimizer steps a process
WAYS = {"none": "", "blocks": "dynamo", "model": "dynamo"}
PLUGINS = "unet_percent,dual_tag,token_chunks"


def measure(way: str, backend: str, folder: Path, patched: Path | None) -> Measured:
    """One process that compiles that way."""
    asked = parity.prepared(parity.Case("benchmark", "25022601"), folder / "output")
    flags = asked.flags.with_("extensions", ",".join(filter(None, (PLUGINS, WAYS[way]))))
    flags = flags.with_("max_token_chunks", 1).with_("max_train_steps", STEPS)
    if way != "none":
        flags = flags.with_("torch_compile").with_("dynamo_backend", backend).with_("compile_scope", way)
    asked = changed(asked, flags=flags)
    cache = {name: str(folder / name) for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
    environment = os.environ | command.environment(asked) | cache | {"EXTENSIONS_TRACE": "1"}
    return timed(command.build(asked, patched), environment, STEPS)


def rounds(count: int, backend: str, patched: Path | None) -> list[dict[str, Measured]]:
    """One measurement of each way a round; who goes first changes."""
    found = []
    for number in range(count):
        order = list(WAYS) if number % 2 == 0 else list(WAYS)[::-1]
        one = {}
        for way in order:
            with tempfile.TemporaryDirectory() as folder:
                one[way] = measure(way, backend, Path(folder), patched)
        found.append(one)
        print(f"round {number + 1} of {count}", file=sys.stderr, flush=True)
    return found


def table(found: list[dict[str, Measured]], title: str) -> Table:
    """Medians, and each way's start-up over the plain one's and over whole models'."""
    made = Table("compiled", "s to the first micro-step", "over none", "over model", title=title)
    for way in WAYS:
        seconds = statistics.median(one[way].startup for one in found)
        ratios = (
            statistics.median(one[way].startup / one[other].startup for one in found) for other in ("none", "model")
        )
        made.add_row(way, f"{seconds:.1f}", *(f"{ratio:.2f}" for ratio in ratios))
    return made


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="aot_eager")
    parser.add_argument("--trainer", choices=TRAINERS, default=REFERENCE)
    asked = parser.parse_args(arguments)
    if asked.rounds < 1:
        raise UserError(f"--rounds={asked.rounds}: give 1 or more")
    patched = None if asked.trainer == REFERENCE else tree.ensure()
    found = rounds(asked.rounds, asked.backend, patched)
    Console(width=118).print(table(found, f"{asked.trainer}, {asked.backend}, {asked.rounds} rounds"))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
