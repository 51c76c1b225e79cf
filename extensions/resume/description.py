"""Describes a training state: state.json, the one owner of its content, and the state that it lies in."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from extensions.base.errors import UserError
from extensions.base.paths import is_file_name
from extensions.base.sealed import opened, sealed

VERSION = 1
DESCRIPTION = "state.json"
STEPS, IMAGES = 10**9, 10**12  # beyond any run: 45 days have 10**7 optimizer steps
MOST = {
    "optimizer_steps": STEPS, "data_steps": STEPS, "epoch": STEPS, "micro_steps": IMAGES, "samples": IMAGES,
    "written_ns": 2**63 - 1, "version": VERSION,
}  # fmt: skip


@dataclass(frozen=True)
class Description:
    """state.json: where the run stood, what it was made with, and its files.

    optimizer_steps, micro_steps (of a process), samples (images over all processes): done so far. data_steps:
    optimizer steps that have seen data. epoch: from 0. skipped: [row, first optimizer step that must not see it, id]
    of each sample that a roll-back leaves out. made_with: resume/identity.py's. files: {name: {"bytes": int,
    "xxh3_128": str}}. written_ns: when, of all states in its folder the newest has the greatest.
    """

    optimizer_steps: int
    micro_steps: int = 0
    samples: int = 0
    data_steps: int = 0
    epoch: int = 0
    seed: int = 0
    run: str | None = None
    skipped: list[list] = field(default_factory=list)
    made_with: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict] = field(default_factory=dict)
    written_ns: int = 0
    version: int = VERSION

    def to_json(self) -> str:
        return json.dumps(sealed(asdict(self)), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """Read a description. ValueError for one that is damaged, lacks a field, or has it of another kind."""
        found = opened(json.loads(text))
        missing = [each.name for each in fields(cls) if each.name not in found]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        description = cls(**{each.name: found[each.name] for each in fields(cls)})
        description._require_kinds()
        return description

    def _require_kinds(self) -> None:
        for name, most in MOST.items():
            if type(getattr(self, name)) is not int or not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)!r:.40}")
        kinds: dict[str, type | tuple[type, ...]]
        kinds = {"seed": int, "run": (str, type(None)), "skipped": list, "made_with": dict, "files": dict}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r:.40}")
        for name, entry in self.files.items():
            if not (isinstance(entry, dict) and type(entry.get("bytes")) is int and "xxh3_128" in entry):
                raise ValueError(f"files: {name:.40} is {entry!r:.40}")
            if not is_file_name(name):
                raise ValueError(f"files: {name!r:.40} is no name of a file in it")


@dataclass(frozen=True)
class State:
    """One state on disk. facts: what its state.json says."""

    path: Path
    facts: Description

    @property
    def optimizer_steps(self) -> int:
        return self.facts.optimizer_steps

    def file(self, name: str) -> Path:
        """One of its files. UserError where the state has none of that name."""
        if name not in self.facts.files:
            raise UserError(f"{self.path} has no {name}; it was written by another kind of run")
        return self.path / name
