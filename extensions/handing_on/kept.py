"""Holds the checkpoints of a run against its record: their bytes, and what their metadata say of the run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.base.recorded_files import PATTERN
from extensions.handing_on import evidence
from extensions.handing_on.evidence import DIFFERS, GONE, NOT_RECORDED, SAME, Line, short
from extensions.model.checkpoint import Header, read_header
from extensions.report.records import Record
from extensions.resume import pending_checkpoints

PREFIX = "sdxl_trainer."
# What a checkpoint says of the launch that wrote it, by the names of the manifest.
IDENTITY = ("run", "started", "parent", "trainer", "sd_scripts_commit", "patch_series_sha256", "project_commit")
ROTATED = ("save_last_n_epochs", "save_last_n_steps")  # by these the trainer takes earlier checkpoints away


def recorded(record: Record) -> dict[str, dict[str, Any]]:
    """Return {name: size and digest} of what all launches have left; a later launch's of the same name wins."""
    found: dict[str, dict[str, Any]] = {}
    for launch in record.launches:
        found |= {name: facts for name, facts in launch.record.checkpoints.items() if isinstance(facts, dict)}
    return found


def of_folder(record: Record) -> Iterator[Line]:
    """Yield the lines of all checkpoints, recorded or there."""
    known, output = recorded(record), evidence.source(record.manifest, "output_dir")
    there = {path.name for path in output.glob(PATTERN)} if output else set()
    last = f"{pending_checkpoints.last_name(record.manifest.flags.get('output_name'))}.safetensors"
    if not known and not there:
        yield Line("checkpoints", NOT_RECORDED, "none is there", repeats=False)
    for name in sorted(known.keys() | there):
        path = (output or Path()) / name
        line = evidence.of_file(f"checkpoint {name}", known.get(name, {}), path, repeats=False)
        if line.verdict == GONE and name != last and record.manifest.flags.keys() & set(ROTATED):
            yield Line(line.what, SAME, "taken away by the run itself, as --save_last_n_… asks", repeats=False)
            continue
        yield line
        if name in there:
            yield of_metadata(f"metadata of {name}", path, record)


def of_model(record: Record, path: Path) -> Iterator[Line]:
    """Yield the lines of one file, whatever it is called now. UserError for what is no checkpoint."""
    header, known = read_header(path), recorded(record)
    digest = evidence.sha256(path, path.stat().st_size) if known else ""
    names = [name for name, facts in known.items() if facts.get("sha256") == digest]
    if not known:
        yield Line(str(path), NOT_RECORDED, "", repeats=False)
    elif names:
        yield Line(str(path), SAME, f"it is {names[0]}", repeats=False)
    else:
        said = f"recorded {len(known)} checkpoint(s), here {short(digest)}, which is none of them"
        yield Line(str(path), DIFFERS, said, repeats=False)
    yield metadata(f"metadata of {path.name}", header, record)


def of_metadata(what: str, path: Path, record: Record) -> Line:
    """Return the line of what a checkpoint says of itself."""
    try:
        return metadata(what, read_header(path), record)
    except UserError as error:
        return Line(what, DIFFERS, str(error), repeats=False)


def metadata(what: str, header: Header, record: Record) -> Line:
    """Return the same of a header that is read."""
    said = {key: header.metadata[PREFIX + key] for key in IDENTITY if PREFIX + key in header.metadata}
    if not said:
        return Line(what, NOT_RECORDED, "", repeats=False)
    launch = next((each.record for each in record.launches if each.record.started == said.get("started")), None)
    if launch is None:
        here = said.get("started", "no time")
        return Line(what, DIFFERS, f"recorded no launch of {short(here)}, which it says wrote it", repeats=False)
    wrong = differing(launch, said)
    return Line(what, DIFFERS if wrong else SAME, "; ".join(wrong), repeats=False)


def differing(launch: Manifest, said: dict[str, str]) -> list[str]:
    """Return what a checkpoint says otherwise than the record of its launch."""
    found = []
    for key in IDENTITY:
        value = getattr(launch, key)
        then, here = str(value) if value else None, said.get(key)
        if then != here:
            found.append(f"{key} recorded {short(then or 'none')}, here {short(here or 'none')}")
    return found
