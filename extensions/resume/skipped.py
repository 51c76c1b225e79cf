"""Remembers the samples that a run must not see again: those of an optimizer step that made NaN.

A roll-back writes them beside the state that it goes back to, in <output_dir>/states/skipped.json; every state saved
from then on carries them itself. The file counts for that state alone: begun again or gone on with from another one,
the run is not to leave out what an earlier life of it did.

Each is kept as its row and its id. The row is what the order of the data knows; with other data (--resume_allow=data)
the id finds the row that the image has now.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from extensions.base.errors import UserError
from extensions.base.processes import is_first
from extensions.base.saving import write_text
from extensions.base.sealed import opened, sealed
from extensions.resume.description import State
from extensions.resume.states import folder_of

FILE = "skipped.json"
REQUEST = "rollback.json"  # in each machine's run folder: on_nan asks the launch to go on from a state
LIMIT = 3  # roll-backs in one launch, unless --on_nan_limit is given
NAMED = 5  # ids that a line names


class Skip(NamedTuple):
    """One sample. step: the first optimizer step that must not see it. key: None where only rows were written."""

    row: int
    step: int
    key: str | None = None


def of_state(state: State, output: Path, dataset) -> dict[int, int]:
    """Read {row: first optimizer step that must not see it}: what the state carries, and a roll-back has added.

    dataset: has `metadata` and `fingerprint`; what it lacks is told and dropped. UserError for a file of that name
    that is none.
    """
    path = folder_of(output) / FILE
    entries = list(state.facts.skipped)
    try:
        if path.is_file():
            found = opened(json.loads(path.read_text(encoding="utf-8")))
            entries += found["rows"] if found["written_ns"] == state.facts.written_ns else []
        skips = [Skip(*entry) for entry in entries]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(f"{path} is not what a roll-back writes; remove it") from None
    same = not skips or state.facts.made_with["data"] == dataset.fingerprint
    return placed(skips, dataset.metadata, same)


def placed(skips: list[Skip], metadata, same: bool) -> dict[int, int]:
    """Return {row: step} in these metadata. same: whether they are those of the rows that have no id."""
    elsewhere = [each for each in skips if not at_home(each, metadata, same)]
    moved = metadata.rows_of([each.key for each in elsewhere if each.key is not None]) if elsewhere else {}
    if gone := [each for each in elsewhere if each.key not in moved]:
        tell(gone)
    rows = {each.row: each.step for each in skips if each not in elsewhere}
    return rows | {moved[each.key]: each.step for each in elsewhere if each.key in moved}


def at_home(each: Skip, metadata, same: bool) -> bool:
    """Tell whether the row is still that of the sample."""
    if each.key is None:
        return same
    return each.row < len(metadata) and metadata[each.row].key == each.key


def tell(gone: list[Skip]) -> None:
    """Say what is left out no more, once a launch."""
    if not is_first():
        return
    names = [each.key or f"row {each.row} of the data before (written without its id)" for each in gone]
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    print(
        f"roll-backs left out {', '.join(names[:NAMED])}{more}: not in these data, or not to be found; dropped",
        flush=True,
    )


def listed(rows: Mapping[int, int], metadata) -> list[Skip]:
    """As they are written down. rows: {row: first optimizer step that must not see it}."""
    return [Skip(row, step, metadata[row].key) for row, step in sorted(rows.items())]


def write(output: Path, state: State, skips: list[Skip]) -> None:
    """Put down what a roll-back to `state` leaves out."""
    content = {"written_ns": state.facts.written_ns, "rows": skips}
    write_text(folder_of(output) / FILE, json.dumps(sealed(content)) + "\n")
