"""Keeps each image's errors of every evaluation beside the run's states: what later ones are compared with.

`validation.jsonl` in the folder of the checkpoints has one line an evaluation: the optimizer step, what was asked,
and the error of x_0 of each image. A run that goes on compares with the lines before its step; what is behind it, of
a run that was rolled back, goes.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from extensions.base.errors import UserError
from extensions.base.saving import write_text, writing

FILE = "validation.jsonl"
ROOM = "make room, then RESUME=auto goes on from the last state"


@dataclass(frozen=True)
class Evaluation:
    """optimizer_step; asked: what tells one set of questions from another; errors: of x_0, an image each."""

    optimizer_step: int
    asked: str
    errors: list[float]

    @property
    def values(self) -> np.ndarray:
        return np.array(self.errors)


def read(folder: Path, asked: str, before: int) -> list[Evaluation]:
    """Return the evaluations of these questions up to an optimizer step, oldest first."""
    found = {each.optimizer_step: each for each in everything(folder) if each.asked == asked}
    return [found[step] for step in sorted(found) if step <= before]


def everything(folder: Path) -> list[Evaluation]:
    """Return all evaluations in the file's order; half a last line is none. UserError where it cannot be read."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeError) as error:
        raise UserError(f"{folder / FILE} cannot be read ({error}); move it away to begin a new one") from None
    found = []
    for line in lines:
        try:
            entry = Evaluation(**json.loads(line))
            if isinstance(entry.optimizer_step, int) and np.isfinite(entry.values).all():
                found.append(entry)
        except (ValueError, TypeError):
            continue
    return found


def forget(folder: Path, asked: str, after: int) -> None:
    """Take out these questions' evaluations behind an optimizer step; those of other questions stay."""
    kept = [each for each in everything(folder) if each.asked != asked or each.optimizer_step <= after]
    with writing(folder / FILE, ROOM):
        write_text(folder / FILE, "".join(line_of(each) for each in kept))


def append(folder: Path, evaluation: Evaluation) -> None:
    """Add an evaluation. UserError where it cannot be written."""
    with writing(folder / FILE, ROOM), open(folder / FILE, "a", encoding="utf-8") as file:
        file.write(line_of(evaluation))


def line_of(evaluation: Evaluation) -> str:
    return json.dumps(asdict(evaluation)) + "\n"
