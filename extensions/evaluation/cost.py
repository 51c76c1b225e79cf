"""Counts what an evaluation costs, in forward passes of the U-Net, against the training beside it."""

PASSES = 3  # of a training image, in forward passes: forward, and backward twice as much; recomputing is not counted
COLUMNS = 4  # texts that a held-out image is asked about; a training image has one
SHARE = 0.01  # of the time, at most, unless another interval is asked for


def forward_passes(images: int, strata: int, averages: int = 0) -> int:
    """Return forward passes of one evaluation, at most: where two texts of an image are the same, fewer.

    averages: of the weights, each asked about the held-out images' own texts, too.
    """
    return images * strata * (COLUMNS + 1 + averages)


def interval(passes: int, images_a_step: int) -> int:
    """Return the optimizer steps between evaluations at which they take SHARE of the time."""
    return -(-passes * round(1 / SHARE) // (PASSES * images_a_step))


def share(passes: int, every: int, images_a_step: int) -> float:
    """Return an evaluation's share of the time."""
    return passes / (passes + every * images_a_step * PASSES)
