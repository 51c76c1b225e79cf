"""Tries the optimizer on one small parameter before anything is loaded.

What a library does not take (three betas, an unknown argument, a rate of 0) it often says at the first step, after
minutes of loading, or not in words.
"""

import copy

import torch

from extensions import optimizer_facts
from extensions.errors import UserError


def check(args) -> None:
    """UserError for an optimizer or --optimizer_args that would fail; args: the parsed flags, left as they are.

    Optimizers outside the table are only looked for: some of them do nothing useful on a CPU.
    """
    from extensions.reference import optimizers  # the same rules as upstream's get_optimizer, as its tests show

    name = optimizer_facts.asked_for(args)
    if "." in name:
        optimizers.class_of(name)
    if not optimizer_facts.is_known(name):
        return
    tried = copy.copy(args)
    tried.optimizer_type = name
    parameter = torch.nn.Parameter(torch.zeros(8, 8))
    parameter.grad = torch.ones_like(parameter)
    try:
        optimizers.optimizer(tried, [{"params": [parameter], "lr": args.learning_rate}]).step()
    except (TypeError, ValueError, AssertionError, IndexError) as error:
        given = " ".join([name, *(args.optimizer_args or [])])
        why = str(error) or f"it refuses one of them or --learning_rate={args.learning_rate}"
        raise UserError(f"--optimizer_type={given} fails at its first step: {why}; see docs/optimizers.md") from None
