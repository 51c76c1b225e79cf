"""sd-scripts' own functions for optimizer_trial.py, without their seams: plugins are not to see a trial."""


def optimizer(args, groups: list[dict]):
    """The optimizer that sd-scripts makes of the flags, over parameter groups {"params": [...], "lr": float}."""
    from library import train_util

    return train_util.get_optimizer.__wrapped__(args, groups)[2]


def schedule(args, made):
    """Its learning-rate schedule, as for one process."""
    from library import train_util

    return train_util.get_scheduler_fix(args, made, 1)
