"""Refuses, in both trainers, flags that parse but cannot train, before anything is loaded."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.processes import started
from extensions.data import DATASET
from extensions.flags import contradictions, declared, kinds, settings
from extensions.flags.settings import Settings
from extensions.model.diffusion import TIMESTEPS

if TYPE_CHECKING:
    from accelerate import Accelerator  # a check of the flags alone is spared its import


def check(args: argparse.Namespace) -> Settings:
    """Return the settings. UserError for what upstream would refuse only once data and models are loaded, or never.

    args: the trainer's flags, parsed, after the plugins had their turn.
    """
    kinds.check_parsed(args)
    config = settings.of_args(args)
    declared.check(config.plugins, lambda name: bool(getattr(args, name, None)))
    timesteps(args)
    contradictions.form_of_checkpoints(getattr(args, "save_model_as", None))
    if getattr(args, "torch_compile", False):  # the plugin that compiles has taken it
        owner = manager.reader_of("torch_compile")
        raise UserError(f"--torch_compile needs the plugin {owner}; add {owner} to --extensions")
    if args.dataset_class == DATASET:
        from extensions.data.dataset import require_supported

        require_supported(args)
    return config


def timesteps(args: argparse.Namespace) -> None:
    """Require a range of timesteps that is part of the schedule and not empty, or one number."""
    low, high = settings.timestep_range(args)
    if not 0 <= low <= high <= TIMESTEPS or low == TIMESTEPS:
        raise UserError(f"--min_timestep={low} --max_timestep={high}: timesteps count from 0, below {TIMESTEPS}")


def deepspeed_set_up(args: argparse.Namespace, accelerator: Accelerator) -> None:
    """Raise UserError where --deepspeed was asked for and accelerate has started something else.

    It does so without a word where it is told to use the CPU: each process then trains by itself.
    """
    if getattr(args, "deepspeed", False) and accelerator.distributed_type != "DEEPSPEED":
        raise UserError(
            f"--deepspeed: accelerate has set up {accelerator.distributed_type.value} instead; "
            "take ACCELERATE_USE_CPU out of the environment, or drop --deepspeed"
        )


def training_together(accelerator: Accelerator) -> None:
    """Raise UserError where several processes were started and accelerate has set up each by itself.

    From 1.13 on it does so without a word on CPUs that ACCELERATE_USE_CPU does not tell it to use.
    """
    count = started()
    if count > 1 and accelerator.num_processes != count:
        raise UserError(
            f"{count} processes were started, and accelerate has set up {accelerator.num_processes} to train "
            "together; install the accelerate of requirements.lock"
        )
