"""Defines a launch's four frozen stages: asked, resolved, staged, started, each made from the one before.

None is written on. A later stage is an earlier one with more known of it, so that a function says by its parameter
how far a launch must be.
"""

from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from extensions.base.errors import UserError
from extensions.flags import settings
from extensions.flags.settings import Settings
from extensions.flags.words import Flags
from extensions.launch.machines import Machines
from extensions.resume.description import State

PROFILES = ("", "tiny")
RESUMES = ("", "auto", "parent")
SD_SCRIPTS, REFERENCE = TRAINERS = ("sd-scripts", "reference")


@dataclass(frozen=True)
class Asked:
    """The caller's words: the launcher's facts and the environment.

    flags: the launcher's, with ARGS; in later stages as that stage leaves them. extra: those of ARGS alone, which win
    over everything, the tiny profile too. trainer: one of TRAINERS; trainer_asked: whether TRAINER said so.
    sd_scripts_commit: another commit of upstream than the pin, "" for the pin. gpus: processes on this machine.
    numa_asked: whether the caller, not the launcher, names the node. resume: one of RESUMES. batch_step: the
    optimizer step whose batch is shown instead of a launch; 0: none. text_variants: texts of each image
    that are encoded instead of a launch; 0: none. blend: what the base is made of, where it is a
    blend; its file stands in the flags. logs_shared: others may read the run folder.
    notes: lines to show before it starts. secrets: (variable, secret) pairs that flags refer to, for the trainer's
    environment alone.
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
    machines: Machines = Machines()
    profile: str = ""
    trainer: str = SD_SCRIPTS
    trainer_asked: bool = False
    tiny_steps: int = 8
    dry_run: bool = False
    force: bool = False
    resume: str = ""
    batch_step: int = 0
    text_variants: int = 0
    blend: str = ""
    sd_scripts_commit: str = ""
    cpu: bool = False
    logs_shared: bool = False
    notes: tuple[str, ...] = ()
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def tiny(self) -> bool:
        return self.profile == "tiny"

    @cached_property
    def settings(self) -> Settings:
        """What the flags mean. UserError for the first that makes no sense."""
        return settings.of_words(self.flags)

    @property
    def processes(self) -> int:
        """Of the whole run, on all machines."""
        return self.gpus * self.machines.count

    @property
    def output(self) -> Path:
        """The folder of this run's checkpoints."""
        return Path(self.flags.get("output_dir") or f"model_out_{self.run}")

    def path(self, flag: str) -> Path:
        """Return a path that a flag gives. UserError when the launcher has no such flag."""
        value = self.flags.get(flag)
        if not value:
            raise UserError(f"train/{self.run}.sh has no --{flag}")
        return Path(value)


@dataclass(frozen=True)
class Resolved(Asked):
    """What was found for what was asked: the trainer that can be had, and where the run goes on from.

    state: the training state, None where it begins. resumed: whether there is one, or the launcher gives one itself.
    """

    state: State | None = None
    resumed: bool = False


@dataclass(frozen=True)
class Staged(Resolved):
    """Where everything is read from. sources: {flag: what it named before RAMDISK=1 replaced it}.

    held: descriptors that the training process keeps open.
    """

    sources: tuple[tuple[str, Path], ...] = ()
    held: tuple[int, ...] = ()

    def source(self, flag: str) -> Path:
        """Return the file or folder of a flag on its disk."""
        return dict(self.sources).get(flag) or self.path(flag)


@dataclass(frozen=True)
class Started:
    """The process that trains: its command line, its variables on top of the caller's, its run folder."""

    staged: Staged
    folder: Path
    words: tuple[str, ...]
    environment: dict[str, str]


Stage = TypeVar("Stage", bound=Asked)


def become(stage: type[Stage], earlier: Asked, **more: Any) -> Stage:
    """Make the next stage: everything of the earlier one, and what more is known; notes are added."""
    known = {each.name: getattr(earlier, each.name) for each in fields(earlier)}
    notes = (*earlier.notes, *more.pop("notes", ()))
    return stage(**known | more | {"notes": notes})


def changed(now: Stage, **more: Any) -> Stage:
    """Return the same stage with some values changed, as a new object; notes are added to those there are."""
    return become(type(now), now, **more)
