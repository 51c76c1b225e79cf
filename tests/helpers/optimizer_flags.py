"""The flags that the optimizer and its schedule read, and both trainers' optimizers over equal parameters."""

import argparse
import copy
import inspect

import torch

from extensions.reference import optimizers

DEFAULTS = {
    "optimizer_type": "AdamW",
    "optimizer_args": None,
    "learning_rate": 1e-3,
    "lr_scheduler": "constant",
    "lr_scheduler_args": None,
    "lr_warmup_steps": 0,
    "lr_scheduler_num_cycles": 1,
    "lr_scheduler_power": 1,
    "max_train_steps": 20,
    "max_grad_norm": 1.0,
    "train_text_encoder": True,
    "learning_rate_te": None,
    "learning_rate_te1": None,
    "learning_rate_te2": None,
}
# Upstream's flags that the reference trainer does not have, at upstream's defaults.
ABSENT = {
    "use_8bit_adam": False,
    "use_lion_optimizer": False,
    "fused_backward_pass": False,
    "lr_decay_steps": 0,
    "lr_scheduler_timescale": None,
    "lr_scheduler_min_lr_ratio": None,
    "lr_scheduler_type": "",
    "optimizer_schedulefree_wrapper": False,
}


def flags(**given):
    return argparse.Namespace(**DEFAULTS | given)


def groups():
    """Two models' parameters, large enough for the 8-bit optimizers."""
    torch.manual_seed(0)
    models = [torch.nn.Linear(64, 64, bias=False), torch.nn.Linear(64, 65)]
    return [{"params": list(m.parameters()), "lr": lr} for m, lr in zip(models, (1e-3, 1e-4), strict=True)]


def both(train_util, args):
    """(ours, upstream's) over equal parameters. Upstream writes into its flags and groups."""
    theirs = argparse.Namespace(**vars(copy.deepcopy(args)), **ABSENT)
    _, _, expected = inspect.unwrap(train_util.get_optimizer)(theirs, groups())
    return optimizers.optimizer(args, groups()), expected, theirs
