"""Writes a checkpoint as others open it: one file for ComfyUI and A1111, or a folder for diffusers (make export)."""

from __future__ import annotations

import argparse
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extensions.base.errors import UserError
from extensions.base.paths import is_file_name, shown
from extensions.base.progress import progress
from extensions.base.saving import replacing, replacing_folder, require_room, writing
from extensions.flags import values
from extensions.handing_on import found as finding
from extensions.handing_on.found import BETWEEN, Found

if TYPE_CHECKING:
    from extensions.handing_on.stored import Source
    from extensions.handing_on.told import Objective

FORMATS, DTYPES = ("safetensors", "diffusers"), ("fp16", "bf16", "fp32")
FOLDER = "export"  # below the checkpoint's: beside it, an export would be taken for a checkpoint of the run
CONFIGURATIONS = 16 << 20  # bytes, more than tokenizers, configurations and headers take
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Wish:
    """What is asked for, checked. ema: "" for the weights as they are. out: None for the usual place."""

    run: str
    checkpoint: str
    format: str
    dtype: str
    ema: str
    out: Path | None
    verify: bool


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's words."""
    parser.add_argument("run", nargs="?", default="", help="its number, or the path of a run folder")
    parser.add_argument("--format", default="", help=f"{' or '.join(FORMATS)} ({FORMATS[0]})")
    parser.add_argument("--dtype", default="", help=f"{', '.join(DTYPES)} ({DTYPES[0]})")
    parser.add_argument("--ema", default="", help="1, or the length of an average, for averaged weights")
    parser.add_argument("--checkpoint", default="", help="another file than the run's last")
    parser.add_argument("--out", default="", help="the file or folder; below the checkpoint's folder else")
    parser.add_argument("--verify", default="", help="0 leaves out to load the export and compare it")


def act(given: argparse.Namespace) -> int:
    """Write the export; the exit code."""
    print(f"exported {shown(export(wish(given)))}", flush=True)
    return 0


def wish(given: argparse.Namespace) -> Wish:
    """Return what is asked for. UserError for words that are none."""
    for name, word, known in (("FORMAT", given.format, FORMATS), ("DTYPE", given.dtype, DTYPES)):
        if word and word not in known:
            raise UserError(f"{name}={word} is unknown; there is {', '.join(known)}")
    kind = given.format or FORMATS[0]
    out = Path(os.path.expanduser(given.out)) if given.out else None
    if out and kind == "safetensors" and out.suffix != SUFFIX:
        raise UserError(f"OUT={out} is no {SUFFIX} file; give one of that name, or FORMAT=diffusers")
    if out and kind == "diffusers" and out.suffix == SUFFIX:
        raise UserError(f"OUT={out} is named as a file, FORMAT=diffusers is a folder; give another name")
    return Wish(
        given.run, given.checkpoint, kind, given.dtype or DTYPES[0],
        "" if given.ema in ("", "0") else given.ema, out, values.switch("VERIFY", given.verify or "1"),
    )  # fmt: skip


def export(asked: Wish) -> Path:
    """Write an export and verify it; its path. UserError, and nothing written, for what cannot be exported."""
    found = finding.find(asked.run, asked.checkpoint)
    from extensions.handing_on import told  # torch comes when it is known that there is something to do
    from extensions.model import published

    if found.header.family not in ("sdxl", "sd2"):
        raise UserError(f"{found.path} is neither SDXL nor SD2; give a checkpoint of a run here")
    average = finding.average_of(found, asked.ema) if asked.ema else ""
    out = place_of(asked, found, average)
    extras = published.check(found.header, found.header.family)
    if average:
        found = finding.averaged(found, average, bool(asked.checkpoint))
        extras = published.check(found.header, found.header.family)
    objective, notes = told.objective_of(found)
    print(told.summary(found, objective), flush=True)
    for note in [*notes, *(f"note: left out, for no published file has them: {each}" for each in extras)]:
        print(note, flush=True)
    write(asked, found, objective, out)
    return out


def place_of(asked: Wish, found: Found, average: str) -> Path:
    """Return where the export goes. UserError where something is there, or it cannot go there."""
    stem = found.path.name.removesuffix(SUFFIX) + (BETWEEN + average if average else "")
    name = f"{found.run or 'model'}-{stem}-{asked.dtype}{SUFFIX * (asked.format == 'safetensors')}"
    name = name if is_file_name(name) else f"model-{asked.dtype}{SUFFIX * (asked.format == 'safetensors')}"
    out = asked.out or found.path.parent / FOLDER / name
    if os.path.lexists(out):
        raise UserError(f"{out} is there already; move it away, or give another OUT=")
    if asked.out and not out.parent.is_dir():
        raise UserError(f"{out.parent} is no folder; make it, or give another OUT=")
    return out


def write(asked: Wish, found: Found, objective: Objective, out: Path) -> None:
    """Write the export beside its place, compare what it gives, and put it in its place."""
    from extensions.handing_on import layout, stored

    single = asked.format == FORMATS[0]
    models = (
        {"": layout.single_file(found.header, objective.marks_in(found.header))}
        if single
        else layout.parts(found.header)
    )
    total = sum(stored.bytes_of(entries, stored.DTYPES[asked.dtype]) for entries in models.values())
    require_room(present(out), total + CONFIGURATIONS, "the export")
    appearing = (replacing if single else replacing_folder)(out)
    with (
        writing(out, "make room, or give another OUT="),
        stored.Source(found.header, asked.dtype) as source,
        appearing as temporary,
    ):
        fill(temporary, models, source, found, objective, total)
        if asked.verify:
            verify(temporary, found, objective, source)
        if os.path.lexists(out):
            raise UserError(f"{out} has come to be there meanwhile; move it away, or give another OUT=")


def fill(temporary: Path, models: dict, source: Source, found: Found, objective: Objective, total: int) -> None:
    """Write the weights, and what else a folder has."""
    from extensions.handing_on import diffusers_layout, stored, told

    began, metadata = time.monotonic(), told.metadata_of(found, objective)
    with counted(total) as advance:
        if "" not in models:
            diffusers_layout.write_configurations(temporary, found.header, objective)
        for part, entries in models.items():
            path = temporary / part / diffusers_layout.WEIGHTS[part] if part else temporary
            stored.write(path, entries, source, metadata, advance)
    print(f"{total / 1e9:.2f} GB in {source.called}, in {time.monotonic() - began:.0f} s", flush=True)
    for name in dict.fromkeys(source.vanished):
        print(f"note: {name} is nothing but zeros in {source.called}", flush=True)


def verify(export: Path, found: Found, objective: Objective, source: Source) -> None:
    """Load the export in diffusers, and say how far its outputs are from those of the checkpoint's own models."""
    from extensions.handing_on import loaded

    began = time.monotonic()
    differences = loaded.compare(export, found.header, objective, source)
    print(f"verified in diffusers, float32, against the checkpoint's own models in {time.monotonic() - began:.0f} s "
          f"(at most {loaded.TOLERANCE:.0e} of the largest value):", flush=True)  # fmt: skip
    for name, value in differences.items():
        print(f"  {name}: {value:.1e}", flush=True)


@contextmanager
def counted(total: int):
    """Show how much is written; gives a function of the bytes of each tensor."""
    done = tensors = 0
    with progress("export", total, "tensors") as shown_to:

        def advance(more: int) -> None:
            nonlocal done, tensors
            done, tensors = done + more, tensors + 1
            shown_to(done, tensors)

        yield advance


def present(path: Path) -> Path:
    """Return the nearest folder above a path that there is."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())
