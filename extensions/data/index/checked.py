"""Remembers which folders of latents hold every id of an index, so that a start scans no 12.4 million names.

Kept beside the index and not in it: a folder that is moved, staged or added to later is looked at once more, and
the index stays as it is. What counts is the folder's time of change, which every file that comes or goes sets; of
a pack that of its header, because maps of rows come and go beside its records.
"""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from extensions.base.errors import UserError
from extensions.base.progress import progress
from extensions.base.saving import write_text
from extensions.data import store
from extensions.data.index.layout import beside
from extensions.data.index.reader import Index
from extensions.data.index.verdict import contains, hashes_of
from extensions.data.pack import HEADER, is_pack

KEPT = 8  # folders an index
SETTLED = 2_000_000_000  # ns; a folder that changed just now may change again within one tick of its clock


@dataclass(frozen=True)
class Folder:
    """A folder of latents as it was before it was scanned. mtime_ns: `changed`; ids: how many it holds latents of.

    below: when the folders in it were last changed, ns, by their path in it.
    """

    path: str
    mtime_ns: int
    ids: int
    below: dict[str, int] = field(default_factory=dict)


def scan(folder: Path, expected: int) -> tuple[Folder, np.ndarray]:
    """Return (its state, the sorted hashes of the ids it holds, 8 bytes each). UserError where it cannot be read.

    expected: how many ids are looked for, for the bar; a folder may hold more.
    """
    ids, pieces, below = 0, [np.zeros(0, np.uint64)], dict[str, int]()
    try:
        before = changed(folder)
        with progress(f"looking through {folder.resolve().name}", expected, "latents") as advance:
            for keys in store.present_ids(folder, below):
                pieces.append(hashes_of(keys))
                ids += len(keys)
                advance(min(ids, expected), ids)
    except OSError as error:
        how = "no such folder of latents" if isinstance(error, FileNotFoundError) else "cannot read the latents in"
        raise UserError(
            f"{how}: {folder} ({error.strerror}); give the latents' folder and make it readable"
        ) from None
    return Folder(str(folder.resolve()), before, ids, below), np.sort(np.concatenate(pieces))


def changed(folder: Path) -> int:
    """When what a folder holds was last changed, ns. OSError where it cannot be read."""
    header = folder / HEADER
    return (header if header.is_file() else folder).stat().st_mtime_ns


def is_known(index: Path, keys_fingerprint: str, folder: Path) -> bool:
    """Tell whether this folder was found complete for these ids and has not changed since."""
    try:
        state = str(folder.resolve()), changed(folder)
        found = [each for each in known(index, keys_fingerprint) if (each["path"], each["mtime_ns"]) == state]
        # A folder that comes or goes changes the one it is in; what they hold changes themselves.
        return any(
            all((folder / name).stat().st_mtime_ns == then for name, then in each.get("below", {}).items())
            for each in found
        )
    except OSError:
        return False


def known(index: Path, keys_fingerprint: str) -> list[dict]:
    """Return the folders that were found complete."""
    try:
        found = json.loads(beside(index, "checked.json").read_text(encoding="utf-8"))
        return found["folders"] if found["keys_fingerprint"] == keys_fingerprint else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def remember(index: Path, keys_fingerprint: str, folder: Folder) -> None:
    """Note that a folder is complete, unless it changed only now. Unwritten, it is scanned each time."""
    if time.time_ns() - max([folder.mtime_ns, *folder.below.values()]) < SETTLED:
        return
    others = [each for each in known(index, keys_fingerprint) if each["path"] != folder.path]
    folders = [*others, asdict(folder)][-KEPT:]
    with suppress(OSError):
        text = json.dumps({"keys_fingerprint": keys_fingerprint, "folders": folders}, indent=1)
        write_text(beside(index, "checked.json"), text)


def require(index: Index, folder: Path) -> None:
    """Require latents of every id of an index, by a scan of the folder: some seconds at 12.4 million. UserError."""
    state, present = scan(folder, len(index))
    missing, example = 0, ""
    for keys in index.keys():
        gone = np.flatnonzero(~contains(present, hashes_of(keys)))
        missing += len(gone)
        example = example or (keys[int(gone[0])].as_py() if len(gone) else "")
    if missing:
        example += "" if is_pack(folder) else ".npz"
        raise UserError(
            f"{missing} of {len(index)} ids have no latents in {folder}, e.g. {example}; make them, or leave the "
            'ids out with make index META=… DATA=… POLICY="missing=skip"'
        )
    remember(index.path, index.keys_fingerprint, state)
