"""Prints the plan of a run: `python -m extensions.plan RUN` (make plan) and `… --check` (make plan-check)."""

import argparse
import os
import sys

from extensions.base.reporting import exit_code_of
from extensions.launch import trial
from extensions.plan import recorded, tables, vram_fit


def main(arguments: list[str]) -> int:
    """Print a run's plan, or the memory model against the recorded readings; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m extensions.plan", description="What a run will cost.")
    parser.add_argument("run", nargs="?", default="", help="its number")
    parser.add_argument("--check", action="store_true", help="the memory model against the recorded readings")
    asked = parser.parse_args(arguments)
    if asked.check:
        return vram_fit.check(recorded.read().readings)
    # What a launch refuses has no plan, be it the trainer that refuses it.
    tables.show(asked.run, dict(os.environ), trial.of_plan)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
