"""Sums up what a model answered: means, their standard errors, and differences between two steps."""

import math

import numpy as np


def mean(values: np.ndarray) -> float:
    """Return the mean, summed without rounding: the same whatever the order."""
    return math.fsum(values.ravel().tolist()) / values.size


def standard_error(values: np.ndarray) -> float | None:
    """Return the standard error of the mean of independent values (n,); None of fewer than two."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum(((values - middle) ** 2).tolist()) / (len(values) - 1) / len(values))


def per_image(errors: np.ndarray) -> np.ndarray:
    """Return each image's mean over the strata: (images, strata) as (images,)."""
    return np.array([mean(row) for row in errors])


def by_source(errors: np.ndarray, names: list[str]) -> dict[str, dict]:
    """Return the figures of the images (images,) by the source of a mixture that each is of."""
    found = {
        name: errors[[number for number, own in enumerate(names) if own == name]] for name in dict.fromkeys(names)
    }
    return {name: {"x0": mean(own), "error": standard_error(own), "images": len(own)} for name, own in found.items()}


def paired(now: np.ndarray, before: np.ndarray) -> dict[str, float | None]:
    """Return the mean difference of the images' errors and its standard error; what the images share falls out."""
    difference = now - before
    return {"x0": mean(difference), "error": standard_error(difference)}


def summary(losses: np.ndarray, errors: np.ndarray, names: list[str]) -> dict:
    """Return the figures of a set in one column. losses, errors: (images, strata); names: the strata's."""
    by_stratum = {name: mean(errors[:, number]) for number, name in enumerate(names)}
    return {
        "x0": mean(per_image(errors)), "error": standard_error(per_image(errors)), "loss": mean(losses),
        "x0_by_stratum": by_stratum,
        "loss_by_stratum": {name: mean(losses[:, number]) for number, name in enumerate(names)},
    }  # fmt: skip


def line(known: dict) -> str:
    """Return an evaluation in one line, for the log."""
    held = known["held_out"]
    parts = [f"error of x_0 {held['x0']:.5f}"]
    for name, words in (("difference_to_first", "since the first"), ("difference_to_previous", "since the last")):
        if name in known:
            parts.append(f"{words} {known[name]['x0']:+.5f} ± {known[name]['error'] or 0:.5f}")
    parts += [f"{name} {known[name]['x0']:.5f}" for name in ("tags", "caption", "empty", "training") if name in known]
    return ", ".join(parts)
