"""Finds two runs' differences image by image, where both were asked the same questions."""

from pathlib import Path

from extensions.base.errors import UserError
from extensions.evaluation import figures, record
from extensions.report.records import Record


def differences(one: Record, other: Record) -> dict[int, dict[str, float | None]]:
    """Return {optimizer step: x0 and its standard error} of the first less the second, of each image's errors.

    Empty where the images' errors are not on this disk any more, or were errors of other images.
    """
    mine, theirs = evaluations(one), evaluations(other)
    return {
        step: figures.paired(mine[step, asked], theirs[step, asked]) for step, asked in mine.keys() & theirs.keys()
    }


def evaluations(run: Record) -> dict:
    """Return {(optimizer step, what was asked): each image's error of x_0, float64 (n,)} of a run's checkpoints."""
    output = run.launches[-1].record.flags.get("output_dir")
    if not isinstance(output, str):
        return {}
    try:
        found = record.everything(Path(output))
    except UserError:
        return {}
    return {(each.optimizer_step, each.asked): each.values for each in found}
