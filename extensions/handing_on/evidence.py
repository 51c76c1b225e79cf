"""Holds what a record says of a run against what is here: code, packages, files, data, checkpoints; a line each."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extensions.base import digests, secrets
from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.base.paths import ROOT
from extensions.data import mixture, sources
from extensions.data.index import opening
from extensions.data.index.layout import SUFFIX, index_of
from extensions.data.index.reader import Index
from extensions.launch import gpus, run_folder
from extensions.launch.stages import SD_SCRIPTS
from extensions.report.planned import words_of
from extensions.upstream import git, reading, submodule, tree

SAME, DIFFERS, GONE, NOT_RECORDED = "same", "differs", "gone", "not recorded"
LARGE = 1 << 30  # bytes; from here on a digest takes long enough to say so
SHORT = 16  # digits of a digest that are shown


@dataclass(frozen=True)
class Line:
    """One thing that was held against the record. repeats: a run that is to be repeated needs it."""

    what: str
    verdict: str
    said: str = ""
    repeats: bool = True

    @property
    def sound(self) -> bool:
        return self.verdict in {SAME, NOT_RECORDED}


def compared(what: str, recorded: Any, here: Any, repeats: bool = True) -> Line:
    """Return the line of two values. recorded: None or empty where the record says nothing; here: None where gone."""
    if recorded is None or recorded in ("", {}, []):
        return Line(what, NOT_RECORDED, "", repeats)
    if here is None or here == "":
        return Line(what, GONE, f"recorded {short(recorded)}", repeats)
    if recorded == here:
        return Line(what, SAME, short(recorded), repeats)
    return Line(what, DIFFERS, f"recorded {short(recorded)}, here {short(here)}", repeats)


def short(value: Any) -> str:
    """Return a value for a line: of digests and commits the beginning."""
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return f"{text[:SHORT]}…" if len(text) >= 32 and set(text) <= set("0123456789abcdef") else text


def asked(ask: Callable[[], str | None]) -> str | None:
    """Return what this installation says; None where it does not (no git, no submodule)."""
    try:
        return ask()
    except (UserError, OSError):
        return None


def of_code(record: Manifest, folder: Path) -> Iterator[Line]:
    """Yield the lines of this project, of sd-scripts and of our patches."""
    yield compared("project commit", record.project_commit, asked(lambda: git.output(ROOT, "rev-parse", "HEAD")))
    yield changes(record, folder)
    if record.trainer == SD_SCRIPTS or record.sd_scripts_commit:
        yield compared("sd-scripts commit", record.sd_scripts_commit, sd_scripts(record.sd_scripts_commit))
        yield compared("patch series", record.patch_series_sha256, asked(tree.series_hash))


def changes(record: Manifest, folder: Path) -> Line:
    """Return the line of what was not committed: what it was lies beside the record."""
    what = "uncommitted changes"
    if not record.project_commit:
        return Line(what, NOT_RECORDED)
    found = asked(lambda: git.text(ROOT, "diff", "HEAD", "--ignore-submodules=dirty"))
    if found is None:
        return Line(what, GONE, "git does not say")
    here = secrets.redacted(found, secrets.of_environment(os.environ)) if found else ""
    if not record.project_changes:
        return Line(what, DIFFERS, "recorded none, here some") if here else Line(what, SAME, "none")
    try:
        then = (folder / "changes.diff").read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return Line(what, GONE, f"{folder / 'changes.diff'} cannot be read")
    if then == here:
        return Line(what, SAME, "changes.diff")
    return Line(what, DIFFERS, f"recorded changes.diff, here {'other changes' if here else 'none'}")


def sd_scripts(recorded: str | None) -> str | None:
    """Return the commit that a launch would take: the recorded one where the submodule has it, else the pin."""
    pin = asked(submodule.pin)
    if not recorded or recorded == pin:
        return pin
    try:
        return recorded if reading.has_commit(submodule.SUBMODULE, recorded) else pin
    except UserError:
        return pin


def of_packages(record: Manifest) -> Iterator[Line]:
    """Yield a line a package that was installed then."""
    here = run_folder.versions()
    if not record.packages:
        yield Line("packages", NOT_RECORDED)
    for name, version in record.packages.items():
        yield compared(f"package {name}", version, here.get(name))


def of_hardware(record: Manifest) -> Iterator[Line]:
    """Yield the line of the kind of machine: on another one, products of matrices have other last bits."""
    then = record.hardware
    yield compared("processor", then.get("machine"), run_folder.hardware(True)["machine"])
    if then.get("gpus"):
        count = len(then["gpus"]) if isinstance(then["gpus"], list) else 0
        here = asked(lambda: ", ".join(gpus.names()[:count]) or None)
        yield compared("GPUs", short(then["gpus"]), here)


def of_inputs(record: Manifest) -> Iterator[Line]:
    """Yield the lines of base model and data."""
    yield of_file("base model", record.base_model)
    yield of_file("metadata of the data set", record.metadata)
    yield of_data(record)
    folder = source(record, "train_data_dir")
    if folder is None or folder.exists():
        yield Line("latents", NOT_RECORDED, "" if folder is None else "there; their content is in no record")
    else:
        yield Line("latents", GONE, f"recorded {folder}")


def of_file(what: str, fingerprint: Mapping[str, Any], path: Path | None = None, repeats: bool = True) -> Line:
    """Return the line of a file that is recorded by size and sha256. path: where it is, the recorded place else."""
    digest, size = fingerprint.get("sha256"), fingerprint.get("bytes")
    place = path or (Path(str(fingerprint["path"])) if fingerprint.get("path") else None)
    if place is None or not digest:
        return Line(what, NOT_RECORDED, "", repeats)
    try:
        here = place.stat().st_size
        if isinstance(size, int) and size != here:
            return Line(what, DIFFERS, f"recorded {size:,} bytes, here {here:,}", repeats)
        return compared(what, digest, sha256(place, here), repeats)
    except (OSError, ValueError):  # ValueError: a NUL in a damaged record's path
        return Line(what, GONE, f"recorded {place}", repeats)


def sha256(path: Path, size: int) -> str:
    """Compute a file's digest anew: what is kept of earlier ones goes by the file's time, which can be set."""
    if size > LARGE:
        print(f"hashing {path.name} …", file=sys.stderr, flush=True)
    return digests.of_file(path, hashlib.sha256())


def of_data(record: Manifest) -> Line:
    """Return the line of the data set's fingerprint: of ids, texts and sizes in their order. No index is built."""
    what = "data fingerprint"
    recorded = (record.data_fingerprint or "").split(" ", 1)[0]  # what is held out follows from it and the flags
    path = source(record, "in_json")
    if not recorded or path is None:
        return Line(what, NOT_RECORDED)
    fingerprint, why = fingerprint_of(path, record)
    return compared(what, recorded, fingerprint) if fingerprint else Line(what, GONE, f"the index {why}")


def fingerprint_of(path: Path, record: Manifest) -> tuple[str, str]:
    """Return (the fingerprint of metadata as they are, "", or "" and why there is none)."""
    try:
        if not sources.is_mixture(path):
            index, why = indexed(path)
            return (index.fingerprint, "") if index else ("", why)
        named = sources.read(path, source(record, "train_data_dir"))
        found = [indexed(each.metadata) for each in named]
        if gone := next(
            (f"of {each.name} {why}" for each, (one, why) in zip(named, found, strict=True) if not one), ""
        ):
            return "", gone
        return mixture.digest("fingerprint", named, [one for one, _ in found if one]), ""
    except (UserError, OSError) as error:
        return "", str(error)


def indexed(path: Path) -> tuple[Index | None, str]:
    """Return (the index of metadata, or why there is none). UserError for one that is named and cannot be used."""
    if path.name.endswith(SUFFIX):
        return opening.named(path), ""
    return opening.usable(index_of(path), path)


def source(record: Manifest, flag: str) -> Path | None:
    """Return where the file or folder of a flag lay on its disk, before RAMDISK=1 copied it."""
    value = record.ramdisk.get(flag) or " ".join(words_of(record.flags.get(flag, [])))
    return Path(ROOT, str(value)) if value and "\0" not in str(value) else None
