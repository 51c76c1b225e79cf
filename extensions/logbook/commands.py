"""Answers the commands `runs`, `show RUN`, `path RUN`, `diff A B`."""

import argparse
import json
from dataclasses import asdict

from extensions.base.paths import LAUNCHERS
from extensions.logbook import diff, header, registry, steps, tables
from extensions.logbook.registry import Run

COLUMNS = ["run", "session", "base", "data", "GPUs", "U-Net %", "TTE", "optimizer", "lr", "steps", "parent"]


def parser() -> argparse.ArgumentParser:
    """Return the command line of `python -m extensions.logbook`."""
    main = argparse.ArgumentParser(prog="python -m extensions.logbook", description="What the launchers say.")
    commands = main.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("runs", help="all runs as a table")
    runs.add_argument("--session", help="only the runs of this session, e.g. 2503c")
    runs.add_argument("--json", action="store_true", help="every field of every run, for other programs")
    runs.set_defaults(act=show_runs)
    one = commands.add_parser("show", help="one run: its header, facts and flags")
    one.add_argument("run")
    one.set_defaults(act=show_run)
    where = commands.add_parser("path", help="the launcher of a run, for the Makefile")
    where.add_argument("run")
    where.set_defaults(act=show_path)
    two = commands.add_parser("diff", help="the flags and facts in which two runs differ")
    two.add_argument("left", metavar="A")
    two.add_argument("right", metavar="B")
    two.set_defaults(act=show_diff)
    return main


def show_runs(args: argparse.Namespace) -> None:
    """Show the table of runs."""
    chosen = [run for run in registry.read_all().values() if args.session in (None, run.session)]
    if args.json:
        print(json.dumps([asdict(run) for run in chosen], indent=1))
    else:
        tables.show(COLUMNS, [row(run) for run in chosen])


def row(run: Run) -> list[str]:
    """One run's line of the table."""
    model = [run.base, run.data, str(run.gpus), f"{run.unet_percent:g}", run.tte]
    training = [run.optimizer, learning_rates(run), steps_text(run)]
    return [run.run, run.session, *model, *training, run.parent or "-"]


def learning_rates(run: Run) -> str:
    """U-Net + text encoders, as the logbook writes them; only what trains."""
    shown = ([run.lr_unet] if run.lr_unet else []) + ([] if run.lr_te is None else [run.lr_te])
    return " + ".join(f"{rate:g}".replace("e-0", "e-") for rate in shown)


def steps_text(run: Run) -> str:
    """Optimizer steps; for a segment, its start and stop in the whole schedule."""
    whole = "?" if run.steps is None else str(run.steps)
    if not run.start_step and run.stop_step is None:
        return whole
    return f"{run.start_step}-{run.stop_step or whole} of {whole}"


def show_run(args: argparse.Namespace) -> None:
    """Show everything that the launcher says."""
    run = registry.find(registry.read_all(), args.run)
    head = header.read(LAUNCHERS / f"{run.run}.sh")
    lines = [["logbook", head.words], [f"session {head.session}", head.defaults], ["hardware", head.hardware]]
    lines += [["steps", head.steps], ["record", head.record], *(["note", note] for note in head.notes)]
    print(f"model_out_{run.run}\n")
    print("\n".join(tables.plain([*lines, *facts(run)])))
    print("\nflags\n")
    print("\n".join(tables.plain([[name, diff.text(value)] for name, value in run.flags.items()])))


def facts(run: Run) -> list[list[str]]:
    """Return what follows from launcher and flags, in the logbook's terms."""
    values = dict(zip(COLUMNS[2:], row(run)[2:], strict=True))
    values["RAMDISK"] = "on" if run.ramdisk else "off"
    values["NUMA node"] = "-" if run.numa is None else str(run.numa)
    values["trainer"] = run.script
    if run.steps is not None:
        own = steps.segment(run.steps, run.start_step, run.stop_step)
        values["to do here"] = f"{own} optimizer steps of {run.ga} micro-step(s) on {run.gpus} GPU(s)"
    return [[name, value] for name, value in values.items()]


def show_path(args: argparse.Namespace) -> None:
    """Show the launcher's path. Known by its name alone, so that a broken neighbour stops no run."""
    print(LAUNCHERS / f"{registry.known(args.run)}.sh")


def show_diff(args: argparse.Namespace) -> None:
    """Show what differs; exit code 0 either way, for a difference is no error."""
    runs = registry.read_all()
    left, right = registry.find(runs, args.left), registry.find(runs, args.right)
    changed, numbered = diff.differences(left, right)
    if not changed:
        print(f"{left.run} and {right.run} have the same flags")
    else:
        tables.show(["changed", left.run, right.run], [[d.name, d.left, d.right] for d in changed])
    if numbered:
        print()
        tables.show(["from the run's number", "", ""], [[d.name, d.left, d.right] for d in numbered])
