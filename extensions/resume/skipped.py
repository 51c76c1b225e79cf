"""Samples that a run must not see again: those of an optimizer step that made NaN.

A roll-back writes them beside the state that it goes back to, in <output_dir>/states/skipped.json; every state saved
from then on carries them itself. The file counts for that state alone: begun again or gone on with from another one,
the run is not to leave out what an earlier life of it did.
"""

import json
from pathlib import Path

from extensions.errors import UserError
from extensions.resume.states import State, folder_of
from extensions.saving import write_text

FILE = "skipped.json"
REQUEST = "rollback.json"  # in each machine's run folder: on_nan asks the launch to go on from a state
LIMIT = 3  # roll-backs in one launch, unless --on_nan_limit is given


def of_state(state: State, output: Path) -> dict[int, int]:
    """{row: first optimizer step that must not see it}: what the state carries, and a roll-back to it has added.

    UserError for a file of that name that is none.
    """
    path = folder_of(output) / FILE
    pairs = list(state.facts["skipped"])
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            pairs += found["rows"] if found["written_ns"] == state.facts["written_ns"] else []
        except (ValueError, TypeError, KeyError):
            raise UserError(f"{path} is not what a roll-back writes; remove it") from None
    return {int(row): int(step) for row, step in pairs}


def write(output: Path, state: State, rows: dict[int, int]) -> None:
    """Put down what a roll-back to `state` leaves out."""
    content = {"written_ns": state.facts["written_ns"], "rows": sorted(rows.items())}
    write_text(folder_of(output) / FILE, json.dumps(content) + "\n")
