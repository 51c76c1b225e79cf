"""Says how to go on after a run that has ended early: a command that a shell reads, and not the one that failed."""

import shlex
from pathlib import Path

from extensions import manager
from extensions.base.errors import NotFinite, UserError
from extensions.launch.stages import Asked
from extensions.model import checkpoint
from extensions.resume import states

MENDED = "  # ends the same way until what the log says is mended"  # a shell passes over it
ROLLBACK = "rollback"


def line(asked: Asked, code: int) -> str:
    """Return the command, with what must be mended first where the same would happen again. code: the exit code."""
    if asked.machines.rank:
        return f"as machine 0 says, here with NODE_RANK={asked.machines.rank}; its checkpoint must be readable here"
    state = next(iter(states.found(states.folder_of(asked.output))[0]), None)
    extra = asked.extra.words()
    if state and code == NotFinite.code and asked.flags.get("on_nan") != ROLLBACK:
        # The same steps end in the same NaN, to the last bit.
        return command(asked, [*extra, f"--on_nan={ROLLBACK}"], "RESUME=auto")
    if state:
        again = command(asked, extra, "RESUME=auto")
    elif newest := newest_checkpoint(asked.output):
        again = from_checkpoint(asked, newest)
    else:
        again = command(asked, extra)
    repeats = code in (UserError.code, NotFinite.code) or (code == 1 and not state)
    return again + MENDED * repeats


def newest_checkpoint(output: Path) -> Path | None:
    """Return the newest checkpoint of a folder; None where there is none."""
    return max(output.glob("*.safetensors"), key=lambda path: path.stat().st_mtime, default=None)


def from_checkpoint(asked: Asked, newest: Path) -> str:
    """Return the command that begins with a checkpoint's weights, at its optimizer step where it says which."""
    steps = checkpoint.read_header(newest).metadata.get("sdxl_trainer.optimizer_steps")
    if steps is None:
        return command(asked, asked.extra.words(), "FORCE=1")
    owner = manager.owner_of_flag("initial_step")
    assert owner is not None  # a plugin of this package
    plugins = dict.fromkeys([*asked.settings.plugins, owner])
    ours = asked.extra.with_("pretrained_model_name_or_path", newest).with_("initial_step", steps)
    ours = ours.with_("skip_until_initial_step").with_("extensions", ",".join(plugins))
    return command(asked, ours.words(), "FORCE=1")


def command(asked: Asked, args: list[str], *more: str) -> str:
    """Return the words of make, each quoted as a shell needs it."""
    words = [f"RUN={asked.run}"]
    words += [f"PROFILE={asked.profile}"] if asked.profile else []
    words += [f"TRAINER={asked.trainer}"] if asked.trainer_asked else []
    words += [f"GPUS={asked.gpus}"] if asked.gpus_asked else []
    words += [*asked.machines.variables(), *more]
    words += [f"ARGS={shlex.join(args)}"] if args else []
    return f"make train {' '.join(map(quoted, words))}"


def quoted(word: str) -> str:
    """Return NAME=VALUE for a shell, with quotes around the value alone."""
    name, _, value = word.partition("=")
    return f"{name}={shlex.quote(value)}"
