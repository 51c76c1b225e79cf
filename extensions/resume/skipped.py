"""Samples that a run must not see again: those of an optimizer step that made NaN.

They are kept in <output_dir>/states/skipped.json, beside the states that they are about, and in every state saved
from then on.
"""

import json
from pathlib import Path

from extensions.errors import UserError
from extensions.resume.states import State, folder_of
from extensions.saving import write_text

FILE = "skipped.json"


def of_state(state: State, args) -> dict[int, int]:
    """{row: first optimizer step that must not see it}, of the state and of roll-backs to it since."""
    return {int(row): int(step) for row, step in state.facts["skipped"]} | read(Path(args.output_dir))


def read(output: Path) -> dict[int, int]:
    """What roll-backs have written down; empty where there were none. UserError for another file of that name."""
    path = folder_of(output) / FILE
    if not path.is_file():
        return {}
    try:
        return {int(row): int(step) for row, step in json.loads(path.read_text(encoding="utf-8"))}
    except (ValueError, TypeError):
        raise UserError(f"{path} is not a list of [row, optimizer step]; remove it") from None


def write(output: Path, rows: dict[int, int]) -> None:
    """Replace what is written down."""
    write_text(folder_of(output) / FILE, json.dumps(sorted(rows.items())) + "\n")
