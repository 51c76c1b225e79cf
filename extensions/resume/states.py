"""Lays out a training state on disk: one folder, `state.json` beside safetensors files, and nothing else.

    <output>/states/step00012000/
      state.json                    small: where the run stood, what it was made with, size and xxh3 of each file
      U-Net.safetensors …           the weights of each model in the dtype in which it is used; of those that are
                                    not trained too, since a later segment's base model may be another file
      optimizer.safetensors         or one a process: optimizer-0.safetensors … under ZeRO, which only as many read,
                                    optimizer-share-0.safetensors … by weight (optimizer_shares.py)
      progress.safetensors          schedule, loss scale, the random streams of every process

A state is written under a name that begins with a dot, synced, and renamed: what is called step… is whole. It is
taken away by renaming first, too. Whether it has stayed whole, `verify` reads out of the checksums.
"""

import json
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import xxhash

from extensions.base import digests
from extensions.base.errors import UserError
from extensions.resume.description import DESCRIPTION, VERSION, Description, State

FOLDER = "states"


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
            f"{path} is a state of version {version!r:.20}, this program reads {VERSION}; resume with the other"
        )
    try:
        facts = Description.from_json(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path / DESCRIPTION} is damaged ({error}); take an older state") from None
    if re.fullmatch(r"step\d+", path.name) and path.name != name_of(facts.optimizer_steps):
        raise UserError(f"{path / DESCRIPTION} is of optimizer step {facts.optimizer_steps}; take an older state")
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
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, and training states go into a folder of that name; move it away")
    for path in sorted(folder.glob("step*")):
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
