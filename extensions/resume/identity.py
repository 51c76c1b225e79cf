"""What a state was made with, and whether it may be gone on from: data, flags, processes, code."""

import json
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.processes import is_first, started
from extensions.resume.states import State

# Flags that change no weight: where files lie, what is logged and saved, how fast it is read. The paths of
# model and data are among them: the state has the weights, and data are compared by content.
NEUTRAL = (
    "output_dir", "output_name", "logging_dir", "log_prefix", "log_with", "log_tracker_name",
    "log_tracker_config", "run_folder", "in_json", "train_data_dir", "pretrained_model_name_or_path",
    "tokenizer_cache_dir", "caption_extension", "max_data_loader_n_workers", "persistent_data_loader_workers",
    "skip_cache_check", "initial_step", "stop_at_step", "skip_until_initial_step", "resume_mode", "resume_from",
    "resume_allow", "states_every_n_steps", "keep_states", "on_nan", "on_nan_limit", "bad_sample",
    "bad_sample_limit", "training_comment", "console_log_level", "console_log_file", "console_log_simple",
    "ddp_timeout",
)  # fmt: skip
# Plugins that change no weight, with flags that are all among those: a run may gain or lose them on its way.
NEUTRAL_PLUGINS = ("save_states", "on_nan", "bad_sample", "record_run")
NEUTRAL_PREFIXES = ("save_", "metadata_", "huggingface_", "wandb_", "sample_")
CODE = ("trainer", "sd_scripts_commit", "patch_series_sha256")
WHAT = ("data", "flags", "processes", "code")


def of_launch(args) -> dict:
    """What is known before anything loads. args: as they were given; trainers and plugins change theirs."""
    return {
        "flags": {name: str(value) for name, value in sorted(vars(args).items()) if not neutral(name)},
        "processes": started(),
        "code": code(args),
    }


def of_run(launched: dict, run) -> dict:
    """All of WHAT, of the run under way. launched: `of_launch`'s; the run's data set has a `fingerprint`."""
    return launched | {"data": run.dataloader.dataset.fingerprint}


def neutral(flag: str) -> bool:
    """Whether a flag changes no weight."""
    return flag in NEUTRAL or flag.startswith(NEUTRAL_PREFIXES)


def manifest(args) -> dict:
    """The record that the launch has written of this run; empty without one."""
    folder = getattr(args, "run_folder", None)
    path = Path(folder) / "manifest.json" if folder else None
    return json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else {}


def code(args) -> dict:
    """Trainer, upstream commit and patch series; empty without a record."""
    return {name: value for name, value in manifest(args).items() if name in CODE}


def require_lineage(state: State, args) -> None:
    """UserError for a state of another run than this one or its parent."""
    now, of = manifest(args), state.facts["run"]
    if now and of not in (None, now["run"], now["parent"]):
        parent = f" nor of its parent {now['parent']}" if now["parent"] else ""
        raise UserError(f"{state.path} is a state of run {of}, not of {now['run']}{parent}; give one of its own")


def require_same(state: State, now: dict, allowed: set[str]) -> None:
    """UserError naming the first difference that is not allowed by name (one of WHAT). now: what is known of it.

    What is allowed is told, every difference on a line, by the first process.
    """
    before, now = comparable(state.facts["made_with"]), comparable(now)
    differing = [what for what in WHAT if what in now and before[what] != now[what]]
    for what in differing:
        if what not in allowed:
            raise UserError(
                f"{state.path} was made with other {what}: {differences(before[what], now[what])[0]}; "
                f"undo that, or give --resume_allow={what}"
            )
    if is_first():
        for what in differing:
            for line in differences(before[what], now[what]):
                print(f"--resume_allow={what}: {line}", flush=True)


def comparable(made_with: dict) -> dict:
    """Without flags and plugins that change no weight; states of before a flag was neutral have it, too.

    The other plugins stay in their order, in which hooks are called.
    """
    if "flags" not in made_with:
        return made_with
    flags = {name: value for name, value in made_with["flags"].items() if not neutral(name)}
    if "extensions" in flags:
        plugins = [name for name in flags["extensions"].split(",") if name not in NEUTRAL_PLUGINS]
        flags["extensions"] = ",".join(plugins)
    return made_with | {"flags": flags}


def differences(before, now) -> list[str]:
    """All that differs, for a person; by flag where there are several values. Not empty."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [f"{before} there, {now} here"]
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return [f"{name} is {before.get(name, 'not set')} there, {now.get(name, 'not set')} here" for name in names]
