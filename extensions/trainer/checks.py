"""Refuses, in both trainers, flags that parse but cannot train, before anything is loaded."""

import argparse

from extensions import manager
from extensions.base.errors import UserError
from extensions.data import DATASET
from extensions.flags import contradictions, declared, kinds, settings
from extensions.flags.settings import Settings
from extensions.model.diffusion import TIMESTEPS


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
