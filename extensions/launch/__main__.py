"""Launches a run; `train/<run>.sh` ends here: python -m extensions.launch RUN FACTS… SCRIPT FLAGS…

train/lib/launch.sh gives these words on standard input, each ended by a NUL: a launcher's flags may hold a key, and
what stands on a command line is in the process list. A launch goes through the stages of stages.py: what was asked
becomes resolved (`prepare`, `resolve`), staged and started.
"""

import os
import sys
from pathlib import Path

from extensions.base import streams
from extensions.base.errors import NotFinite
from extensions.base.paths import LOGS, shown
from extensions.base.reporting import exit_code_of
from extensions.base.saving import writing
from extensions.flags import attention, contradictions, trackers
from extensions.launch import asked as request
from extensions.launch import (
    blends,
    checks,
    child,
    command,
    going_on,
    output_lock,
    ramdisk,
    ramdisk_plan,
    resume,
    run_folder,
    tiny,
    trainer,
    trial,
)
from extensions.launch.stages import Asked, Resolved, Staged, Started, become, changed
from extensions.resume import skipped


def main(arguments: list[str]) -> int:
    """Launch one run; its exit code."""
    asked = request.read(arguments or request.handed_over())
    if "help" in asked.extra:
        settled = trainer.settle(become(Resolved, asked))
        return trial.show_help(settled, trainer.build(settled))
    if not asked.dry_run:
        checks.check_machines(asked)
    if asked.tiny:
        trains = not (asked.batch_step or asked.text_variants)
        # Before stand-ins are made, a minute's work: a tiny run's other checks need them, and cannot fail.
        asked = tiny.apply(trainer.settle(asked) if trains else asked)
    if asked.batch_step:
        from extensions.launch import batch  # and with it torch: half a gigabyte, which a launcher holds for weeks

        return batch.show(asked)
    if asked.text_variants:
        from extensions.launch import text_outputs

        return text_outputs.make(asked)
    asked = prepare(asked)
    if asked.dry_run:
        return dry_run(trainer.settle(resume.apply(asked)))
    with output_lock.in_output(asked) as held:
        return launch(asked, held)


def prepare(asked: Asked) -> Asked:
    """Refuse flags that cannot work together, and settle which attention it is, and where a blend would be."""
    contradictions.check(asked.flags, asked.processes)
    trackers.check(asked.flags.get("log_with"))
    flags, notes = attention.settle(asked.flags, asked.cpu)
    if asked.cpu and not asked.tiny:  # CPU=1; the tiny profile has done it, and said so
        flags = tiny.with_bf16(flags)
    return blends.settle(changed(asked, flags=flags, notes=notes))


def launch(asked: Asked, held: tuple[int, ...]) -> int:
    """Check what is there, and train. held: descriptors that the training process keeps open."""
    resolved = resume.apply(asked)
    resolved = changed(resolved, notes=checks.check(resolved) or ())
    resolved = trainer.settle(resolved)
    patched = trainer.build(resolved)
    if resolved.ramdisk and not resolved.tiny:
        trial.check(resolved, patched)
    with ramdisk.staged(resolved, held) as inputs:
        staged = resume.set_aside(inputs)  # last: a launch that is refused has moved nothing
        tell(staged)
        return train_on(staged, patched)


def train_on(staged: Staged, patched: Path | None) -> int:
    """Train; after NaN, as often as --on_nan_limit allows, go on from the last state where the run asks for it."""
    left = staged.flags.number("on_nan_limit", skipped.LIMIT)
    code, folder = train(staged, patched)
    while left and code == NotFinite.code and (again := resume.rolled_back(staged, folder)):
        staged, left = again, left - 1
        code, folder = train(staged, patched)
    report(staged, folder, code)
    return code


def tell(asked: Asked) -> None:
    """Show what was replaced or left out."""
    for note in asked.notes:
        print(note, file=sys.stderr, flush=True)


def dry_run(resolved: Resolved) -> int:
    """Print the command and run nothing."""
    tell(resolved)
    if resolved.ramdisk:
        print(ramdisk_plan.told(resolved), file=sys.stderr)
    print(f"trainer: {resolved.trainer}", file=sys.stderr)
    words = complete(resolved, run_folder.planned(resolved), trainer.location(resolved))
    print(run_folder.shell(words, command.environment(resolved)))
    return 0


def complete(asked: Asked, folder: Path, patched: Path | None) -> list[str]:
    """Return the command line, with the flags that only a launch can know."""
    return command.build(changed(asked, flags=command.complete(asked, folder, patched)), patched)


def start(staged: Staged, patched: Path | None) -> Started:
    """Return a new run folder with the record of what is about to run."""
    folder = run_folder.create(staged)
    words = tuple(complete(staged, folder, patched))
    started = Started(staged, folder, words, command.environment(staged))
    run_folder.write_command(started)
    run_folder.write_manifest(started)
    return started


def train(staged: Staged, patched: Path | None) -> tuple[int, Path]:
    """Write the record, run, and finish the record; the exit code and the run folder."""
    with writing("the run folder", f"make room below {LOGS}, or let LOGS= name another disk"):
        started = start(staged, patched)
        log = started.folder / "train.log"
        log.write_text("".join(f"{note}\n" for note in staged.notes), encoding="utf-8", errors="backslashreplace")
    print(f"run folder: {shown(started.folder)}", flush=True)
    code = child.run(list(started.words), started.environment | dict(staged.secrets), log, staged.held)
    try:
        run_folder.finish(started.folder, code)
    except OSError as error:  # the run has ended as it has: its exit code is what counts
        print(f"{shown(started.folder)} does not say how it ended ({error.strerror}); make room", file=sys.stderr)
    return code, started.folder


def report(asked: Asked, folder: Path, code: int) -> None:
    """Say where things are; after a failure, how to go on."""
    if code == 0:
        print(f"done: {asked.output}\nrecord: {shown(folder)}")
        return
    print(f"stopped with exit code {code}; log: {shown(folder / 'train.log')}", file=sys.stderr)
    print(f"to go on: {going_on.line(asked, code)}", file=sys.stderr)


if __name__ == "__main__":
    # diffusers imports torchao, which makes this module of torch warn at every start of something harmless.
    os.environ.setdefault("TORCH_LOGS", "-torch.utils._pytree")
    streams.keep()
    sys.exit(exit_code_of(main, sys.argv[1:]))
