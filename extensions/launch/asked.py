"""Reads what is asked for: the launcher's facts and the caller's environment, checked for form."""

import os
import sys
from collections.abc import Mapping

from extensions.base import secrets
from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.flags import attention, kinds
from extensions.flags.values import count, file_name, parsed, switch
from extensions.flags.words import Flags
from extensions.launch import machines as several
from extensions.launch.stages import PROFILES, REFERENCE, RESUMES, SD_SCRIPTS, TRAINERS, Asked

OF_FILES = ("ARGS", "LOGS", "RAMDISK_DIR", "TMPDIR")  # variables that name some, beside those of the flags
MOST_GPUS = 128  # of one machine: PyTorch counts no further


def handed_over() -> list[str]:
    """Return the words on standard input. UserError where nobody has put any there."""
    words = [] if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read().split(b"\0")[:-1]
    if not words:
        raise UserError("there is nothing to launch; make train RUN=<run> does, or train/<run>.sh")
    return [os.fsdecode(word) for word in words]


def read(arguments: list[str], environment: Mapping[str, str] = os.environ) -> Asked:
    """Return what `train/lib/launch.sh` hands over: RUN NAME=VALUE… SCRIPT FLAGS…. UserError for a malformed one."""
    require_utf8([*arguments, *(f"{name}={environment.get(name, '')}" for name in OF_FILES), str(ROOT)])
    run, rest = parsed("RUN_NAME", arguments[0], file_name), list(arguments[1:])
    facts = {}
    while rest and "=" in rest[0] and not rest[0].startswith("-"):
        name, _, value = rest.pop(0).partition("=")
        facts[name] = value
    if not rest or rest[0].startswith("-"):
        raise UserError(f'train/{run}.sh: launch needs a trainer first, e.g. launch sdxl_train.py "${{flags[@]}}"')
    launchers, found = secrets.hidden(Flags(rest[1:]).values)
    given, more_found = secrets.hidden(Flags.of_text(environment.get("ARGS", "")).values)
    extra = Flags.of(given)
    flags, notes = attention.give_way(Flags.of(launchers), extra)
    flags, more = without_workers(flags.merged(extra))
    kinds.check(flags.values)
    profile = environment.get("PROFILE", "")
    if profile not in PROFILES:
        raise UserError(f"PROFILE={profile} is unknown; there is PROFILE=tiny, or none for the real run")
    trainer = environment.get("TRAINER") or SD_SCRIPTS
    if trainer not in TRAINERS:
        raise UserError(f"TRAINER={trainer} is unknown; there is {', '.join(TRAINERS)}")
    return Asked(
        run=run,
        script=rest[0],
        flags=flags,
        extra=extra,
        gpus=count("GPUS", facts.get("GPUS") or "1", least=1, most=MOST_GPUS),
        gpus_asked=bool(environment.get("GPUS")),
        parent=facts.get("PARENT", ""),
        ramdisk=switch("RAMDISK", facts.get("RAMDISK")),
        numa=node(facts.get("NUMA") or "none"),
        numa_asked=bool(environment.get("NUMA")),
        machines=several.read(environment),
        profile=profile,
        trainer=trainer,
        trainer_asked=bool(environment.get("TRAINER")),
        tiny_steps=count("TINY_STEPS", environment.get("TINY_STEPS") or "8", least=1),
        dry_run=switch("DRY_RUN", environment.get("DRY_RUN")),
        force=switch("FORCE", environment.get("FORCE")),
        resume=resume(environment),
        batch_step=count("STEP", environment["STEP"], least=1) if environment.get("STEP") else 0,
        text_variants=count("VARIANTS", environment["VARIANTS"], least=1) if environment.get("VARIANTS") else 0,
        sd_scripts_commit=commit_of(facts, environment, trainer),
        cpu=switch("CPU", environment.get("CPU")) or profile == "tiny",
        logs_shared=switch("LOGS_SHARED", environment.get("LOGS_SHARED")),
        notes=(*notes, *more),
        secrets=tuple((found | more_found).items()),
    )


def require_utf8(words: list[str]) -> None:
    """Refuse names of files that are no UTF-8: manifests, states and checkpoints could not hold them as text."""
    for word in words:
        if any("\udc80" <= each <= "\udcff" for each in word):
            said = os.fsencode(word).decode("utf-8", "backslashreplace")
            raise UserError(f"{said} is not UTF-8; rename the file or folder (convmv -f latin1 -t utf8)")


def commit_of(facts: Mapping[str, str], environment: Mapping[str, str], trainer: str) -> str:
    """Return the commit of sd-scripts that is asked for, or "". UserError beside the reference trainer."""
    commit = facts.get("SD_SCRIPTS_REF") or environment.get("SD_SCRIPTS_REF", "")
    if commit and trainer == REFERENCE:
        raise UserError(f"SD_SCRIPTS_REF={commit} has no effect on TRAINER=reference; drop one of them")
    return commit


def without_workers(flags: Flags) -> tuple[Flags, list[str]]:
    """Take out what asks for workers to be kept where there are none, which PyTorch refuses; and a note of it.

    ARGS can ask for none, but not take a launcher's flag out.
    """
    if flags.get("max_data_loader_n_workers") != "0" or "persistent_data_loader_workers" not in flags:
        return flags, []
    note = "--persistent_data_loader_workers is left out: --max_data_loader_n_workers=0 leaves none to keep"
    return flags.without("persistent_data_loader_workers"), [note]


def resume(environment) -> str:
    """RESUME, one of RESUMES. UserError for another, and beside FORCE, which starts over."""
    asked = environment.get("RESUME", "")
    if asked not in RESUMES:
        raise UserError(f"RESUME={asked} is unknown; there is RESUME=auto and RESUME=parent")
    if asked and switch("FORCE", environment.get("FORCE")):
        raise UserError(f"RESUME={asked} goes on and FORCE=1 starts over; give one of them")
    return asked


def node(text: str) -> int | None:
    """Return the NUMA node to bind to; None for "none". UserError for what is no number."""
    return None if text == "none" else count("NUMA", text, least=0)
