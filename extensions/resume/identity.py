"""Compares what a state was made with to what goes on from it: data, flags, processes, code."""

from collections.abc import Iterable
from contextlib import suppress

from extensions import manager
from extensions.base import manifest, secrets
from extensions.base.errors import UserError
from extensions.base.processes import is_first, started
from extensions.optimizers import facts as optimizer_facts
from extensions.resume.description import State

# The trainers' flags that change no weight: where files lie, what is logged and saved, how fast it is read. The paths
# of model and data are among them: the state has the weights, and data are compared by content. Plugins declare
# theirs.
NEUTRAL = (
    "output_dir", "output_name", "logging_dir", "log_prefix", "log_with", "log_tracker_name",
    "log_tracker_config", "run_folder", "in_json", "train_data_dir", "pretrained_model_name_or_path",
    "tokenizer_cache_dir", "caption_extension", "max_data_loader_n_workers", "persistent_data_loader_workers",
    "skip_cache_check", "training_comment", "console_log_level", "console_log_file", "console_log_simple",
    "ddp_timeout",
)  # fmt: skip
NEUTRAL_PREFIXES = ("save_", "metadata_", "huggingface_", "wandb_", "sample_")
CODE = ("trainer", "sd_scripts_commit", "patch_series_sha256")
WHAT = ("data", "flags", "processes", "code")
# Of patch series that make the same programs, the later one by the earlier one: there an import of ours stood two
# lines below, beside a line that older upstreams have not.
SAME_SERIES = {
    "84207c6742bbd1c9d41008de65c88c578bb4ac5a10c3b19bd84606a0c9caa2b8": (
        "9c2d7a7f2d570d2245cdf03e5ac0b85e398d2ba93ca795390c9c22ba60ec7751"
    )
}


def of_launch(args) -> dict:
    """Return what is known before anything loads. args: as they were given; trainers and plugins change theirs."""
    neutral = neutral_flags(manager.current().names)
    given = {name: str(value) for name, value in sorted(vars(args).items())}
    return {
        "flags": {name: value for name, value in given.items() if not is_neutral(name, neutral)},
        "processes": started(),
        "code": code(args),
    }


def of_run(launched: dict, run) -> dict:
    """Return all of WHAT, of the run under way. launched: `of_launch`'s; the run's data set has a `fingerprint`."""
    return launched | {"data": run.dataloader.dataset.fingerprint}


def neutral_flags(plugins: Iterable[str]) -> set[str]:
    """Return the flags of these plugins that change no weight; all of a plugin that changes none."""
    found: set[str] = set()
    for name in plugins:
        with suppress(UserError):  # a plugin that is not to be had any more
            found |= {flag.name for flag in manager.flags_of([name]) if flag.neutral or manager.is_neutral(name)}
    return found


def is_neutral(flag: str, of_plugins: set[str]) -> bool:
    """Tell whether a flag changes no weight."""
    kept_out = secrets.is_secret(flag)  # no state may hold it
    return kept_out or flag in NEUTRAL or flag in of_plugins or flag.startswith(NEUTRAL_PREFIXES)


def code(args) -> dict:
    """Trainer, upstream commit and patch series; empty without a record."""
    record = manifest.read(getattr(args, "run_folder", None))
    return {name: getattr(record, name) for name in CODE} if record else {}


def require_lineage(state: State, args) -> None:
    """Raise UserError for a state of another run than this one or its parent."""
    now, of = manifest.read(getattr(args, "run_folder", None)), state.facts.run
    if now and of not in (None, now.run, now.parent):
        parent = f" nor of its parent {now.parent}" if now.parent else ""
        raise UserError(f"{state.path} is a state of run {of}, not of {now.run}{parent}; give one of its own")


def require_same(state: State, now: dict, allowed: set[str]) -> None:
    """Refuse the first difference that is not allowed by name (one of WHAT), UserError. now: what is known of it.

    What is allowed is told, every difference on a line, by the first process.
    """
    before, now = comparable(state.facts.made_with), comparable(now)
    differing = [what for what in WHAT if what in now and before.get(what) != now[what]]
    for what in differing:
        if what not in allowed:
            raise UserError(
                f"{state.path} was made with other {what}: {differences(before.get(what), now[what])[0]}; "
                f"undo that, or give --resume_allow={what}"
            )
    if is_first():
        for what in differing:
            for line in differences(before.get(what), now[what]):
                print(f"--resume_allow={what}: {line}", flush=True)


def comparable(made_with: dict) -> dict:
    """Without flags and plugins that change no weight, and without flags at their defaults.

    States of before a flag was there, or was neutral, can so be gone on from, and those of a patch series that makes
    the same programs. The other plugins stay in their order, in which hooks are called.
    """
    if series := made_with.get("code", {}).get("patch_series_sha256"):
        same = made_with["code"] | {"patch_series_sha256": SAME_SERIES.get(series, series)}
        made_with = made_with | {"code": same}
    if "flags" not in made_with:
        return made_with
    plugins = manager.listed(made_with["flags"].get("extensions"))
    neutral, defaults = neutral_flags(plugins), manager.defaults()
    flags = {name: value for name, value in made_with["flags"].items() if not is_neutral(name, neutral)}
    flags = {name: value for name, value in flags.items() if name not in defaults or value != str(defaults[name])}
    if plugins:
        flags["extensions"] = ",".join(name for name in plugins if not manager.is_neutral(name))
    if "optimizer_type" in flags:
        flags["optimizer_type"] = optimizer_facts.present_name(flags["optimizer_type"])
    return made_with | {"flags": flags}


def differences(before, now) -> list[str]:
    """Return all that differs, for a person; by flag where there are several values. Not empty."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [f"{before} there, {now} here"]
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return [f"{name} is {before.get(name, 'not set')} there, {now.get(name, 'not set')} here" for name in names]
