"""Moves a learning-rate schedule to an optimizer step."""

import warnings


def forward(run, steps: int) -> None:
    """Advance the run's schedule by so many optimizer steps; accelerate's wrapper counts one a process.

    Where its rate follows from the count alone, which all of upstream's do, the count is set.
    """
    from accelerate.scheduler import AcceleratedScheduler
    from torch.optim.lr_scheduler import LambdaLR

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "scheduler before optimizer": on purpose here
        wrapper = run.lr_scheduler
        if isinstance(wrapper, AcceleratedScheduler) and isinstance(wrapper.scheduler, LambdaLR):
            wrapper.scheduler.last_epoch = steps * run.accelerator.num_processes - 1
            wrapper.scheduler.step()
            return
        for _ in range(steps):
            run.lr_scheduler.step()
