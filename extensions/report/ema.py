"""Makes an average of any length after a run: `python -m extensions.report.ema RUN LENGTH` (make ema)."""

import argparse
import os
import sys
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.base.reporting import exit_code_of
from extensions.flags import values
from extensions.launch import asked
from extensions.logbook import registry


def main(arguments: list[str]) -> int:
    """Write the checkpoint; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m extensions.report.ema", description="An average of any length.")
    parser.add_argument("run", help="its number")
    parser.add_argument("length", help="of the average, a share of the run: 0.02 to 0.25")
    parser.add_argument("--step", default="", help="optimizer step of a snapshot; the last one's else")
    parser.add_argument("--out", default="", help="the file; beside the run's checkpoints else")
    given = parser.parse_args(arguments)
    if not given.run or not given.length:
        raise UserError("give RUN=<run> and LENGTH=<0.02 to 0.25>, e.g. make ema RUN=25022601 LENGTH=0.07")
    from extensions.averages import posthoc  # with torch, which the other verbs of this room do without

    length = posthoc.require_length(given.length)
    step = values.count("STEP", given.step, least=1) if given.step else None
    out = Path(given.out) if given.out else None
    if out and out.suffix != ".safetensors":
        raise UserError(f"OUT={out} is no .safetensors file; give one of that name")
    print(f"saved {posthoc.make(output_of(given.run), length, step, out)}", flush=True)
    return 0


def output_of(run: str) -> Path:
    """Return the folder of a run's checkpoints. UserError where the run is unknown, or has left none."""
    facts = registry.ask_here(LAUNCHERS / f"{registry.known(run)}.sh")
    output = asked.read(facts, {"ARGS": os.environ.get("ARGS", "")}).output
    if not output.is_dir():
        raise UserError(f"{output} is not there: run {run} has left nothing here; let OUTPUT= name its disk")
    return output


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
