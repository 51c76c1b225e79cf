"""What both trainers refuse once the flags are parsed, before anything is loaded."""

from extensions.base.errors import UserError
from extensions.data import DATASET

TIMESTEPS = 1000  # of the noise schedule, 0 the cleanest
COUNTS = ("train_batch_size", "gradient_accumulation_steps", "max_train_steps")


def check(args, plugins: list[str]) -> None:
    """UserError for what upstream would refuse only once data and models are loaded, or never.

    args: the trainer's flags, parsed. plugins: the names of those that are listed.
    """
    precision(args)
    timesteps(args)
    for name in COUNTS:
        if getattr(args, name) < 1:
            raise UserError(f"--{name}={getattr(args, name)}: give 1 or more")
    if args.dataset_class == DATASET:
        from extensions.data.dataset import require_supported

        require_supported(args, plugins)


def precision(args) -> None:
    """fine_tune.py does not look at --full_bf16 at all, and sdxl_train.py late."""
    for name, needed in (("full_bf16", "bf16"), ("full_fp16", "fp16")):
        if getattr(args, name, False) and args.mixed_precision != needed:
            raise UserError(f"--{name} needs --mixed_precision={needed}; add it or drop --{name}")


def timesteps(args) -> None:
    """The range that timesteps are drawn from is part of the schedule and not empty, or one number."""
    low, high = args.min_timestep or 0, TIMESTEPS if args.max_timestep is None else args.max_timestep
    if not 0 <= low <= high <= TIMESTEPS or low == TIMESTEPS:
        raise UserError(f"--min_timestep={low} --max_timestep={high}: timesteps count from 0, below {TIMESTEPS}")
