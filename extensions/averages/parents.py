"""Finds the parents of a blend by name, and keeps what they were: the recipe in a blend's metadata.

Digests are of whole files. A blend is made of files that stay where they are; what was read is told by them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from extensions.base import manifest, paths
from extensions.base.errors import UserError
from extensions.model import folder
from extensions.model.checkpoint import Header, read_header

RECIPE = "sdxl_trainer.blend"  # in a checkpoint's metadata
VERSION = 1
TITLE = "modelspec.title"
BASE = "base"  # the name of what the run of another parent began with


@dataclass(frozen=True)
class Parent:
    """A parent as it was read. name: as asked for; run, optimizer_steps: what its file says, "" and None for none.

    blend: its own recipe, where it is a blend itself.
    """

    name: str
    path: str
    bytes: int
    sha256: str
    run: str = ""
    optimizer_steps: int | None = None
    title: str = ""
    blend: dict[str, Any] | None = None

    @classmethod
    def of(cls, name: str, header: Header, size: int, sha256: str) -> Parent:
        said = header.metadata
        return cls(
            name, str(header.path), size, sha256, said.get(folder.RUN, ""), folder.steps(header),
            said.get(TITLE, ""), recipe_in(header),
        )  # fmt: skip

    @property
    def called(self) -> str:
        """What the parent is called in a title: by its run and step, else by its own title or its file."""
        if self.run and self.optimizer_steps is not None:
            return f"model_out_{self.run} at {self.optimizer_steps:,}"
        return self.title or Path(self.path).name


def recipe(text: str, factors: Sequence[float], parents: Sequence[Parent]) -> dict[str, str]:
    """Return the metadata of a blend: what it is made of, and a title. text: the blend as it was asked for."""
    made = {
        "version": VERSION, "blend": text, "factors": list(factors), "parents": [asdict(each) for each in parents],
    }  # fmt: skip
    shares = " ".join(
        f"{factor:+g} x {parent.called}" for factor, parent in zip(factors, parents, strict=True)
    ).removeprefix("+")
    return {
        RECIPE: json.dumps(made, ensure_ascii=False),
        TITLE: f"blend: {shares}",
        "modelspec.merged_from": ", ".join(parent.called for parent in parents),
    }


def recipe_in(header: Header) -> dict[str, Any] | None:
    """Return the recipe of a blend; None for a checkpoint that is none. UserError for one that cannot be read."""
    text = header.metadata.get(RECIPE)
    if text is None:
        return None
    try:
        found = json.loads(text)
        if found["version"] != VERSION:
            raise ValueError("of another version")
        parents_of(found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError(f"{header.path}: its recipe ({RECIPE}) cannot be read; make the blend anew") from None
    return found


def parents_of(made: dict[str, Any]) -> list[Parent]:
    """Return the parents that a recipe names."""
    known = [each.name for each in fields(Parent)]
    return [Parent(**{name: parent[name] for name in known if name in parent}) for parent in made["parents"]]


@dataclass(frozen=True)
class Found:
    """A parent that is there. sha256: what its file's must be, as a record says; "" where none does."""

    name: str
    header: Header
    sha256: str = ""


def find(
    names: Sequence[tuple[str, tuple[str, int | None] | None]], outputs: Callable[[str], Iterable[Path]]
) -> list[Found]:
    """Return the parents, in order. UserError where one is not there.

    names: (name, (run, optimizer step or None for the last), or None for a file or the base). outputs: gives the
    folders where a run's checkpoints may be.
    """
    found: dict[str, Found] = {}
    for name, run in names:
        if run:
            found[name] = Found(name, of_run(name, *run, list(outputs(run[0]))))
        elif name != BASE:
            found[name] = Found(name, read_header(os.path.expanduser(name)))
    for place, (name, _) in enumerate(names):
        if name == BASE:
            # A run before a file; the nearest before it first.
            beside = [*reversed(names[:place]), *names[place + 1 :]]
            whose = next((other for other, run in beside if run), beside[0][0])
            found[name] = base_of(found[whose].header)
    return [found[name] for name, _ in names]


def described(found: Sequence[Found], fingerprint: Callable[[Path], dict[str, Any]]) -> list[Parent]:
    """Return the parents with their digests. UserError where the base is not the file that the run began with.

    fingerprint: gives {"bytes", "sha256"} of a file.
    """
    made = []
    for each in found:
        facts = fingerprint(each.header.path)
        if each.sha256 and facts["sha256"] != each.sha256:
            raise UserError(
                f"{each.header.path} is not the file that the run began with (sha256 {facts['sha256'][:12]}…, the "
                f"record says {each.sha256[:12]}…); put that one back, or give the base's file instead of {each.name}"
            )
        made.append(Parent.of(each.name, each.header, facts["bytes"], facts["sha256"]))
    return made


def of_run(name: str, run: str, step: int | None, folders: list[Path]) -> Header:
    """Return the last checkpoint of a run, or that of an optimizer step. UserError where it has left none."""
    found = folder.last(folders, step)
    if found is None:
        where = " and ".join(paths.shown(each) for each in folders) or "any folder that is known"
        which = "no checkpoint" if step is None else f"no checkpoint of optimizer step {step:,}"
        raise UserError(f"{name}: run {run} has left {which} in {where}; train it, or give the file")
    return found


def base_of(header: Header) -> Found:
    """Return what the run of a checkpoint began with, by the record of the launch that wrote it.

    UserError where nothing says so, and where there is no such file any more.
    """
    run, started = (header.metadata.get(key, "") for key in (folder.RUN, folder.STARTED))
    known = records_of(run) if run and paths.is_file_name(run) else []
    record = next((each for each in known if each.started == started), None)
    if record is None or not record.base_model.get("path"):
        raise UserError(f"{header.path}: nothing here says what its run began with; give the base's file instead")
    path = paths.ROOT / str(record.base_model["path"])
    if not path.is_file():
        raise UserError(f"{path}, which run {run} began with, is not there; give the base's file instead")
    return Found(BASE, read_header(path), str(record.base_model.get("sha256") or ""))


def records_of(run: str) -> list[manifest.Manifest]:
    """Return the records of a run's launches, those that can be read."""
    found = []
    for each in sorted((paths.LOGS / run).glob(f"*/{manifest.FILE}")):
        try:
            found.append(manifest.read(each.parent))
        except (UserError, OSError):
            continue
    return [each for each in found if each]


def differing(made: dict[str, Any], parents: Sequence[Parent]) -> str:
    """Return, in words, which parent is not the one that a blend was made of; "" where all are."""
    before = parents_of(made)
    if len(before) != len(parents):
        return "it has another number of parents"
    for was, now in zip(before, parents, strict=True):
        if was.sha256 != now.sha256:
            return f"{now.name} ({now.path}) has sha256 {now.sha256[:12]}…, it was made of {was.sha256[:12]}…"
    return ""
