"""Keeps what was read of a growing file, so that the next reading goes on from there.

Kept for a file are its path, the inode, its first bytes and those before the place that was read up to. Where one of
them differs, it is another file, or a file that was written anew, and is read from its beginning. What is kept can be
made again: a damaged or unwritable folder of it costs time, and nothing else.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import orjson

from extensions.base.errors import UserError
from extensions.base.saving import replacing
from extensions.report.curves import Curve
from extensions.report.metrics import Metrics

VERSION = 1
PROBE = 4096  # bytes at the beginning, and before the place that was read up to
ARRAYS = ("bins", "count", "low", "high", "total")


def read(path: Path, cuts: dict[str, int], folder: Path | None) -> Metrics:
    """Return all of a metrics.jsonl, reading what was added since it was kept in `folder`; empty where there is none.

    cuts: as in Metrics. folder: None keeps nothing.
    """
    if not path.is_file():
        return Metrics(cuts=cuts)
    place = None if folder is None else folder / f"{name_of(path)}.npz"
    metrics = (place and load(place, path, cuts)) or Metrics(cuts=cuts)
    try:
        added = metrics.read_on(path)
    except OSError as error:
        metrics.failed, added = error.strerror or str(error), 0
    if added and place:
        with suppress(OSError, UserError):
            save(place, path, metrics)
    return metrics


def name_of(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]


def mark_of(path: Path, offset: int) -> list:
    """Return what tells a file from another that takes its place."""
    with open(path, "rb") as file:
        head = file.read(min(PROBE, offset))
        file.seek(max(0, offset - PROBE))
        tail = file.read(min(PROBE, offset))
    return [os.stat(path).st_ino, hashlib.sha256(head).hexdigest(), hashlib.sha256(tail).hexdigest()]


def save(place: Path, path: Path, metrics: Metrics) -> None:
    """Keep what is read of a file."""
    curves = metrics.curves
    facts = {
        "version": VERSION, "mark": mark_of(path, metrics.offset), "cuts": metrics.cuts, "offset": metrics.offset,
        "lines": metrics.lines, "unread": metrics.unread, "labels": metrics.labels,
        "curves": [[name, c.width, c.missing, c.missing_at, c.last] for name, c in curves.items()],
    }  # fmt: skip
    arrays = {f"{i}_{key}": getattr(curve, key) for i, curve in enumerate(curves.values()) for key in ARRAYS}
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place, durable=False) as temporary:
        np.savez(temporary, facts=np.frombuffer(orjson.dumps(facts), np.uint8), **arrays)


def load(place: Path, path: Path, cuts: dict[str, int]) -> Metrics | None:
    """Return what was kept of this file with these cuts; None where nothing is that can be gone on from."""
    try:
        with np.load(place, allow_pickle=False) as kept:
            facts = orjson.loads(kept["facts"].tobytes())
            if facts["version"] != VERSION or facts["cuts"] != cuts or path.stat().st_size < facts["offset"]:
                return None
            if facts["mark"] != mark_of(path, facts["offset"]):
                return None
            curves = {}
            for i, (name, width, missing, missing_at, last) in enumerate(facts["curves"]):
                arrays = {key: kept[f"{i}_{key}"] for key in ARRAYS}
                place_of_last = tuple(last) if last else None
                curves[name] = Curve(width, **arrays, missing=missing, missing_at=missing_at, last=place_of_last)
            known = {key: facts[key] for key in ("offset", "lines", "unread", "labels")}
            return Metrics(cuts, curves=curves, **known)
    except Exception:  # whatever numpy and zipfile make of a damaged file: it is read anew
        return None
