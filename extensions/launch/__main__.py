"""`train/<run>.sh` ends here: python -m extensions.launch RUN FACTS… SCRIPT FLAGS…"""

import os
import sys
from pathlib import Path

from extensions.base.errors import NotFinite
from extensions.base.paths import shown
from extensions.base.reporting import exit_code_of
from extensions.flags import attention, contradictions
from extensions.launch import (
    checks,
    child,
    command,
    output_lock,
    ramdisk,
    request,
    resume,
    run_folder,
    tiny,
    trainer,
    trial,
)
from extensions.launch.request import Request
from extensions.model import checkpoint
from extensions.resume import skipped, states


def main(arguments: list[str]) -> int:
    """Launch one run; its exit code."""
    asked = request.read(arguments)
    if not asked.dry_run:
        checks.check_machines(asked)
    if asked.tiny:
        tiny.apply(asked)
    if asked.batch_step:
        from extensions.launch import batch  # and with it torch: half a gigabyte, which a launcher holds for weeks

        return batch.show(asked)
    contradictions.check(asked.flags, asked.processes)
    asked.notes += attention.settle(asked.flags, asked.cpu)
    if asked.dry_run:
        resume.apply(asked)
        trainer.settle(asked)
        tell(asked)
        return dry_run(asked)
    with output_lock.in_output(asked):
        return launch(asked)


def launch(asked: Request) -> int:
    """Check what is there, and train."""
    resume.apply(asked)
    checks.check(asked)
    trainer.settle(asked)
    patched = trainer.build(asked)
    if asked.ramdisk and not asked.tiny:
        trial.check(asked, patched)
    with ramdisk.staged(asked):
        resume.set_aside(asked)  # last: a launch that is refused has moved nothing
        tell(asked)
        return train_on(asked, patched)


def train_on(asked: Request, patched: Path | None) -> int:
    """Train; after NaN, as often as --on_nan_limit allows, go on from the last state where the run asks for it."""
    left = asked.flags.number("on_nan_limit", skipped.LIMIT)
    code, folder = train(asked, patched)
    while left and code == NotFinite.code and resume.rolled_back(asked, folder):
        left -= 1
        code, folder = train(asked, patched)
    report(asked, folder, code)
    return code


def tell(asked: Request) -> None:
    """Show what was replaced or left out."""
    for note in asked.notes:
        print(note, file=sys.stderr, flush=True)


def dry_run(asked: Request) -> int:
    """Print the command and run nothing."""
    folder = run_folder.planned(asked)
    print(f"trainer: {asked.trainer}", file=sys.stderr)
    words = complete(asked, folder, trainer.location(asked))
    print(run_folder.shell(words, command.environment(asked)))
    return 0


def complete(asked: Request, folder: Path, patched: Path | None) -> list[str]:
    """The command line, with the flags that only a launch can know."""
    command.complete(asked.flags, folder, patched, asked.processes)
    return command.build(asked, patched)


def train(asked: Request, patched: Path | None) -> tuple[int, Path]:
    """Write the record, run, and finish the record; the exit code and the run folder."""
    folder = run_folder.create(asked)
    words = complete(asked, folder, patched)
    environment = command.environment(asked)
    run_folder.write_command(folder, words, environment, asked.staged)
    run_folder.write_manifest(folder, asked, words)
    print(f"run folder: {shown(folder)}", flush=True)
    log = folder / "train.log"
    log.write_text("".join(f"{note}\n" for note in asked.notes), encoding="utf-8")
    code = child.run(words, environment, log, asked.held)
    run_folder.finish(folder, code)
    return code, folder


def report(asked: Request, folder: Path, code: int) -> None:
    """Say where things are; after a failure, how to go on."""
    if code == 0:
        print(f"done: {asked.output}\nrecord: {shown(folder)}")
        return
    print(f"stopped with exit code {code}; log: {shown(folder / 'train.log')}", file=sys.stderr)
    print(f"to go on: {continuation(asked)}", file=sys.stderr)


def continuation(asked: Request) -> str:
    """The command that continues from the newest checkpoint, or starts again where there is none."""
    if asked.machines.rank:
        return f"as machine 0 says, here with NODE_RANK={asked.machines.rank}; its checkpoint must be readable here"
    again = " ".join(["make train", *chosen(asked)])
    if states.found(states.folder_of(asked.output))[0]:
        return f"{again} RESUME=auto"
    newest = max(asked.output.glob("*.safetensors"), key=lambda p: p.stat().st_mtime, default=None)
    if newest is None:
        return again
    steps = checkpoint.read_header(newest).metadata.get("sdxl_trainer.optimizer_steps")
    if steps is None:
        return f"{again} FORCE=1"
    plugins = [name for name in (asked.flags.get("extensions") or "").split(",") if name]
    if "resume_at_step" not in plugins:
        plugins.append("resume_at_step")
    return (
        f'{again} FORCE=1 ARGS=\'--pretrained_model_name_or_path="{newest}" --initial_step={steps} '
        f"--skip_until_initial_step --extensions={','.join(plugins)}'"
    )


def chosen(asked: Request) -> list[str]:
    """The variables that the caller gave, as words of make."""
    words = [f"RUN={asked.run}"]
    words += [f"PROFILE={asked.profile}"] if asked.profile else []
    words += [f"TRAINER={asked.trainer}"] if asked.trainer_asked else []
    words += [f"GPUS={asked.gpus}"] if asked.gpus_asked else []
    return [*words, *asked.machines.variables()]


if __name__ == "__main__":
    # diffusers imports torchao, which makes this module of torch warn at every start of something harmless.
    os.environ.setdefault("TORCH_LOGS", "-torch.utils._pytree")
    sys.exit(exit_code_of(main, sys.argv[1:]))
