"""What is to be launched: the launcher's facts and the caller's environment, checked for form."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from extensions.base.errors import UserError
from extensions.flags import attention
from extensions.flags.values import count, switch
from extensions.flags.words import Flags
from extensions.launch import machines as several

PROFILES = ("", "tiny")
RESUMES = ("", "auto", "parent")
SD_SCRIPTS, REFERENCE = TRAINERS = ("sd-scripts", "reference")


@dataclass
class Request:
    """One launch.

    trainer: one of TRAINERS; trainer_asked: whether TRAINER said so. sd_scripts_commit: another commit of
    upstream than the pin, "" for the pin. flags: the launcher's, with ARGS. extra: those of ARGS alone,
    which win over everything, the tiny profile too. gpus: processes on this machine. numa_asked: whether the
    caller, not the launcher, names the node. resume: one of RESUMES; resumed: whether a training state was found
    or given. batch_step: the optimizer step whose batch is shown instead of a launch; 0: none. staged: {flag: what
    it named before RAMDISK=1 replaced it}. held: descriptors that the training process keeps open.
    notes: lines to show before it starts.
    """

    run: str
    script: str
    flags: Flags
    extra: Flags
    gpus: int
    gpus_asked: bool = False
    parent: str = ""
    ramdisk: bool = False
    numa: int | None = None
    numa_asked: bool = False
    machines: several.Machines = several.Machines()
    profile: str = ""
    trainer: str = SD_SCRIPTS
    trainer_asked: bool = False
    tiny_steps: int = 8
    dry_run: bool = False
    force: bool = False
    resume: str = ""
    resumed: bool = False
    batch_step: int = 0
    sd_scripts_commit: str = ""
    cpu: bool = False
    staged: dict[str, Path] = field(default_factory=dict)
    held: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def tiny(self) -> bool:
        return self.profile == "tiny"

    @property
    def processes(self) -> int:
        """Of the whole run, on all machines."""
        return self.gpus * self.machines.count

    @property
    def output(self) -> Path:
        """The folder of this run's checkpoints."""
        return Path(self.flags.get("output_dir") or f"model_out_{self.run}")

    def path(self, flag: str) -> Path:
        """A path that a flag gives. UserError when the launcher has no such flag."""
        value = self.flags.get(flag)
        if not value:
            raise UserError(f"train/{self.run}.sh has no --{flag}")
        return Path(value)


def read(arguments: list[str], environment=os.environ) -> Request:
    """The request of `train/lib/launch.sh`: RUN NAME=VALUE… SCRIPT FLAGS…. UserError for a malformed one."""
    run, rest = arguments[0], list(arguments[1:])
    facts = {}
    while rest and "=" in rest[0] and not rest[0].startswith("-"):
        name, _, value = rest.pop(0).partition("=")
        facts[name] = value
    if not rest or rest[0].startswith("-"):
        raise UserError(f'train/{run}.sh: launch needs a trainer first, e.g. launch sdxl_train.py "${{flags[@]}}"')
    flags = Flags(rest[1:])
    extra = Flags.of_text(environment.get("ARGS", ""))
    notes = attention.give_way(flags, extra)
    flags.update(extra)
    notes += without_workers(flags)
    profile = environment.get("PROFILE", "")
    if profile not in PROFILES:
        raise UserError(f"PROFILE={profile} is unknown; there is PROFILE=tiny, or none for the real run")
    trainer = environment.get("TRAINER") or SD_SCRIPTS
    if trainer not in TRAINERS:
        raise UserError(f"TRAINER={trainer} is unknown; there is {', '.join(TRAINERS)}")
    commit = facts.get("SD_SCRIPTS_REF") or environment.get("SD_SCRIPTS_REF", "")
    if commit and trainer == REFERENCE:
        raise UserError(f"SD_SCRIPTS_REF={commit} has no effect on TRAINER=reference; drop one of them")
    return Request(
        run=run,
        script=rest[0],
        flags=flags,
        extra=extra,
        gpus=count("GPUS", facts.get("GPUS") or "1", least=1),
        gpus_asked=bool(environment.get("GPUS")),
        parent=facts.get("PARENT", ""),
        ramdisk=switch("RAMDISK", facts.get("RAMDISK") or "0"),
        numa=node(facts.get("NUMA") or "none"),
        numa_asked=bool(environment.get("NUMA")),
        machines=several.read(environment),
        profile=profile,
        trainer=trainer,
        trainer_asked=bool(environment.get("TRAINER")),
        tiny_steps=count("TINY_STEPS", environment.get("TINY_STEPS") or "8", least=1),
        dry_run=environment.get("DRY_RUN") == "1",
        force=environment.get("FORCE") == "1",
        resume=resume(environment),
        batch_step=count("STEP", environment["STEP"], least=1) if environment.get("STEP") else 0,
        sd_scripts_commit=commit,
        cpu=profile == "tiny",
        notes=notes,
    )


def without_workers(flags: Flags) -> list[str]:
    """Take out what asks for workers to be kept where there are none, which PyTorch refuses; a note of it.

    ARGS can ask for none, but not take a launcher's flag out.
    """
    if flags.get("max_data_loader_n_workers") != "0" or not flags.drop("persistent_data_loader_workers"):
        return []
    return ["--persistent_data_loader_workers is left out: --max_data_loader_n_workers=0 leaves none to keep"]


def resume(environment) -> str:
    """RESUME, one of RESUMES. UserError for another, and beside FORCE, which starts over."""
    asked = environment.get("RESUME", "")
    if asked not in RESUMES:
        raise UserError(f"RESUME={asked} is unknown; there is RESUME=auto and RESUME=parent")
    if asked and environment.get("FORCE") == "1":
        raise UserError(f"RESUME={asked} goes on and FORCE=1 starts over; give one of them")
    return asked


def node(text: str) -> int | None:
    """The NUMA node to bind to; None for "none". UserError for what is no number."""
    return None if text == "none" else count("NUMA", text, least=0)
