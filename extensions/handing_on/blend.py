"""Blends two checkpoints, or adds the difference of two to a third: a new file, its recipe in it (make blend)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from extensions.averages import alike, parents
from extensions.averages.parents import Parent
from extensions.base.errors import UserError
from extensions.base.paths import shown
from extensions.flags import blend as asked
from extensions.flags.blend import Blend
from extensions.handing_on import found as finding
from extensions.launch.run_folder import fingerprint

SUFFIX = ".safetensors"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's words."""
    parser.add_argument("--a", default="", help="a file, a run's number (its last checkpoint), <run>@<step>, or base")
    parser.add_argument("--b", default="", help="the same; base is what the run beside it began with")
    parser.add_argument("--c", default="", help="the same: A + RATIO (B - C) instead of (1 - RATIO) A + RATIO B")
    parser.add_argument("--ratio", default="", help="0 to 1; 0 is A alone")
    parser.add_argument("--out", default="", help=f"the new file, {SUFFIX}")
    parser.add_argument("--dtype", default="", help=f"{', '.join(alike.DTYPES)}; that of the parents else")
    parser.add_argument("--predicts", default="", help=f"{', '.join(alike.PREDICTS)}; what the parents say else")


def act(given: argparse.Namespace) -> int:
    """Write the blend; the exit code."""
    blend = wish(given)
    out = place_of(given.out)
    found = parents.find([(name, asked.run_of(name)) for name in blend.names], finding.folders_of)
    laid = alike.layout([each.header for each in found], given.dtype, given.predicts)
    for note in laid.notes:
        print(note, flush=True)
    made = parents.described(found, fingerprint)
    print(told(blend, made), flush=True)
    from extensions.averages import blending  # torch comes when it is known that there is something to do

    blending.require_nothing(out)
    paths = [Path(each.path) for each in made]
    blending.make(out, paths, blend.factors, laid, parents.recipe(blend.text, blend.factors, made))
    print(f"saved {shown(out)}", flush=True)
    return 0


def wish(given: argparse.Namespace) -> Blend:
    """Return the blend that is asked for. UserError for words that are none."""
    if not (given.a and given.b and given.ratio and given.out):
        raise UserError(
            "give A=, B=, RATIO= and OUT=, e.g. make blend A=base B=25022601 RATIO=0.5 OUT=half.safetensors"
        )
    if given.dtype and given.dtype not in alike.DTYPES:
        raise UserError(f"DTYPE={given.dtype} is unknown; there is {', '.join(alike.DTYPES)}")
    names = tuple(name for name in (given.a, given.b, given.c) if name)
    return asked.made(names, asked.ratio_of(given.ratio, "RATIO"), "make blend")


def place_of(text: str) -> Path:
    """Return where the blend goes. UserError where something is there, or it cannot go there."""
    out = Path(os.path.expanduser(text))
    if out.suffix != SUFFIX:
        raise UserError(f"OUT={out} is no {SUFFIX} file; give one of that name")
    if os.path.lexists(out):
        raise UserError(f"{out} is there already; move it away, or give another OUT=")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent} is no folder; make it, or give another OUT=")
    return out


def told(blend: Blend, made: Sequence[Parent]) -> str:
    """In one line, what is blended."""
    shares = (f"{factor:g} of {each.path}" for factor, each in zip(blend.factors, made, strict=True))
    return "blend: " + ", ".join(shares)
