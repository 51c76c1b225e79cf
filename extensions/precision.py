"""Flags of precision that contradict each other, for both trainers."""

from extensions.errors import UserError


def check(args) -> None:
    """UserError for what upstream would refuse only once data and models are loaded, or never.

    args: the trainer's flags, parsed. fine_tune.py does not look at --full_bf16 at all.
    """
    for name, needed in (("full_bf16", "bf16"), ("full_fp16", "fp16")):
        if getattr(args, name, False) and args.mixed_precision != needed:
            raise UserError(f"--{name} needs --mixed_precision={needed}; add it or drop --{name}")
