"""Holds manifest.json of a run folder: what a run is made of, written before its first step, finished at its end.

The one owner of the file: the launch writes it, the run adds what only it knows, a checkpoint cites it.
"""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from extensions.base.errors import UserError
from extensions.base.saving import write_text

FILE = "manifest.json"
VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """The record of one launch.

    started, ended: UTC, ISO 8601; ended and exit_code are None while it runs. parent: the run whose state or
    checkpoint it began with. extensions: the plugins, in order. processes: of the whole run. ramdisk: {flag: the file
    on its disk}. hardware: cores, memory in bytes, names of GPUs. base_model, metadata: path, bytes and sha256 of the
    file; a base that is a blend has its recipe besides, "blend". trainable_parameters: by model; images,
    data_fingerprint: of the data set. They are known once the run has begun. checkpoints: {name: {"bytes", "sha256"}}
    of the files that the launch has left.
    """

    run: str = ""
    started: str = ""
    profile: str = ""
    parent: str | None = None
    trainer: str = ""
    sd_scripts_commit: str | None = None
    patch_series_sha256: str | None = None
    script: str = ""
    extensions: list[str] = field(default_factory=list)
    flags: dict[str, Any] = field(default_factory=dict)
    processes: int = 1
    machines: dict[str, int] = field(default_factory=dict)
    numa_node: int | None = None
    ramdisk: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    project_commit: str = ""
    project_changes: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    base_model: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    ended: str | None = None
    exit_code: int | None = None
    trainable_parameters: dict[str, int] | None = None
    images: int | None = None
    data_fingerprint: str | None = None
    checkpoints: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> "Manifest":
        """Return the record in a text. UserError, naming `where`, for none, or one of a later version."""
        try:
            found = json.loads(text)
            version = found.get("version", VERSION)
            known = {each.name: found[each.name] for each in fields(cls) if each.name in found}
        except (ValueError, AttributeError, RecursionError):
            raise UserError(f"{where} is not the record of a run; restore it, or take another run folder") from None
        if version != VERSION:
            raise UserError(f"{where} is a record of version {version}, this program reads {VERSION}; update it")
        return cls(**known)


def read(folder: str | Path | None) -> Manifest | None:
    """Return the record in a run folder; None where there is none."""
    path = Path(folder) / FILE if folder else None
    if path is None or not path.is_file():
        return None
    return Manifest.from_json(path.read_bytes(), str(path))


def write(folder: Path, manifest: Manifest) -> None:
    """Write the record of a run folder."""
    write_text(folder / FILE, manifest.to_json())


def update(folder: Path, **known: Any) -> None:
    """Add to the record what is known by now; begin one where there is none."""
    write(folder, replace(read(folder) or Manifest(), **known))
