"""Lays out a training state on disk: one folder, `state.json` beside safetensors files, and nothing else.

    <output>/states/step00012000/
      state.json                    small: where the run stood, what it was made with, size and xxh3 of each file
      U-Net.safetensors …           the weights of each model in the dtype in which it is used; of those that are
                                    not trained too, since a later segment's base model may be another file
      optimizer.safetensors         or optimizer-0.safetensors … under ZeRO, one a process
      progress.safetensors          schedule, loss scale, the random streams of every process

A state is written under a name that begins with a dot, synced, and renamed: what is called step… is whole. It is
taken away by renaming first, too. Whether it has stayed whole, `verify` reads out of the checksums.
"""

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import xxhash

from extensions.base import digests
from extensions.base.errors import UserError

VERSION = 1
FOLDER = "states"
DESCRIPTION = "state.json"


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
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """Return the description in a text. ValueError for one that lacks a field, or has it of another kind."""
        found = json.loads(text)
        missing = [each.name for each in fields(cls) if each.name not in found]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        description = cls(**{each.name: found[each.name] for each in fields(cls)})
        description._require_kinds()
        return description

    def _require_kinds(self) -> None:
        for name in ("optimizer_steps", "micro_steps", "samples", "data_steps", "epoch", "written_ns", "version"):
            if type(getattr(self, name)) is not int or not 0 <= getattr(self, name) < 2**63:
                raise ValueError(f"{name} is {getattr(self, name)!r:.40}")
        kinds: dict[str, type | tuple[type, ...]]
        kinds = {"seed": int, "run": (str, type(None)), "skipped": list, "made_with": dict, "files": dict}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r:.40}")
        for name, entry in self.files.items():
            if not (isinstance(entry, dict) and type(entry.get("bytes")) is int and "xxh3_128" in entry):
                raise ValueError(f"files: {name} is {entry!r:.40}")


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


def folder_of(output: Path) -> Path:
    """Return where the states of a run lie. output: the folder of its checkpoints."""
    return output / FOLDER


def name_of(optimizer_steps: int) -> str:
    """Of the state after so many optimizer steps."""
    return f"step{optimizer_steps:08d}"


def read(path: Path) -> State:
    """Return the state in a folder, from its description and the sizes of its files.

    UserError: no state, of another version, a file missing or cut short.
    """
    path = Path(path)
    try:
        text = (path / DESCRIPTION).read_text(encoding="utf-8")
        version = json.loads(text)["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is not a training state (no readable {DESCRIPTION}); give another one") from None
    if version != VERSION:
        raise UserError(
            f"{path} is a state of version {version}, this program reads {VERSION}; resume with the other"
        )
    try:
        facts = Description.from_json(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path / DESCRIPTION} is damaged ({error}); take an older state") from None
    for name, entry in facts.files.items():
        file = path / name
        try:
            size = file.stat().st_size
        except OSError:
            raise UserError(f"{file} is missing; take an older state") from None
        if size != entry["bytes"]:
            raise UserError(f"{file} has {size:,} bytes, the state says {entry['bytes']:,}; take an older state")
    return State(path, facts)


def verify(state: State) -> None:
    """Read every file and compare its checksum. UserError for one that has changed."""
    for name, entry in state.facts.files.items():
        if checksum(state.path / name) != entry["xxh3_128"]:
            raise UserError(f"{state.path / name} is damaged (its checksum is another); take an older state")


def checksum(path: Path) -> str:
    """xxh3-128 of a file, in hexadecimal: it finds damage, not forgery, as fast as a disk can be read."""
    return digests.of_file(path, xxhash.xxh3_128())


def found(folder: Path) -> tuple[list[State], list[str]]:
    """Return (states, newest first; why the others in the folder are none).

    Newest by the time of writing: a run that was rolled back, or begun again, is at an earlier step.
    """
    states, bad = [], []
    for path in folder.glob("step*"):
        try:
            states.append(read(path))
        except UserError as error:
            bad.append(str(error))
    return sorted(states, key=lambda state: state.facts.written_ns, reverse=True), bad


def newest_good(folder: Path, tell=print) -> State | None:
    """Find the newest state whose checksums hold, None without one; each that is passed over is told."""
    states, bad = found(folder)
    for reason in bad:
        tell(f"passed over: {reason}")
    for state in states:
        try:
            verify(state)
            return state
        except UserError as error:
            tell(f"passed over: {error}")
    return None


def remove_left(folder: Path) -> None:
    """Take away what a killed process has left, half written or half removed, as far as that can be done.

    For process 0 of a run alone, and not while any process writes a state.
    """
    for left in folder.glob(".step*.part"):
        shutil.rmtree(left, ignore_errors=True)


def begin(folder: Path, optimizer_steps: int) -> Path:
    """Return an empty folder to write a state into, after `remove_left`."""
    temporary = folder / f".{name_of(optimizer_steps)}.part"
    temporary.mkdir(parents=True)
    return temporary


def discard(temporary: Path) -> None:
    """Take away what was begun and will not be finished. Other processes that still write to it find it gone."""
    if temporary.is_dir():
        going = temporary.with_name(f"{temporary.stem}.old{temporary.suffix}")
        shutil.rmtree(going, ignore_errors=True)
        with suppress(OSError):
            os.rename(temporary, going)
            shutil.rmtree(going)


def commit(temporary: Path, facts: Description, files: dict[str, dict]) -> State:
    """Describe what was written, sync, and give it its name. files: {name: {"bytes": int, "xxh3_128": str}}.

    It is the newest, whatever the clock says: one that was set back would have it removed in place of older ones.
    """
    final = temporary.with_name(name_of(facts.optimizer_steps))
    newest = max((state.facts.written_ns for state in found(temporary.parent)[0]), default=0)
    facts = replace(facts, written_ns=max(time.time_ns(), newest + 1), files=files)
    with open(temporary / DESCRIPTION, "w", encoding="utf-8") as file:
        file.write(facts.to_json())
        file.flush()
        os.fsync(file.fileno())
    sync(temporary)
    remove(final)
    os.rename(temporary, final)
    sync(final.parent)
    return State(final, facts)


def remove(path: Path) -> None:
    """Take a state away, if it is there. A crash in between leaves no half state under its name."""
    if path.exists():
        going = path.with_name(f".{path.name}.old.part")
        shutil.rmtree(going, ignore_errors=True)
        os.rename(path, going)
        shutil.rmtree(going)


def keep_last(folder: Path, count: int, saved: State) -> None:
    """Remove all but the newest `count` states; never `saved`, which was written just now."""
    states, _ = found(folder)
    for state in states[count:]:
        if state.path != saved.path:
            remove(state.path)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
