"""Tries the optimizer and its schedule on one small parameter before anything is loaded.

What a library does not take (three betas, an unknown argument, a rate of 0, a warm-up of a constant schedule) it
often says at the first step, after minutes of loading, or not in words.
"""

import argparse
import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from extensions.base.errors import UserError, english
from extensions.optimizers import facts as optimizer_facts

# What the libraries and the trainers raise for it.
FAULTS = (AssertionError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError)


def check(args: argparse.Namespace, name: str, optimizer: Callable, schedule: Callable) -> None:
    """Refuse an optimizer, --optimizer_args or a schedule that would fail; args, parsed, are left as they are.

    name: the optimizer's. optimizer(args, groups) and schedule(args, optimizer): the trainer's own functions.
    Optimizers outside the table are made and not stepped: some of them do nothing useful on a CPU.
    """
    tried = copy.copy(args)
    parameter = torch.nn.Parameter(torch.zeros(8, 8))
    given = " ".join([name, *(args.optimizer_args or [])])
    hint = f"it refuses one of them or --learning_rate={args.learning_rate}"
    with explained(f"--optimizer_type={given} cannot be made", hint, "docs/optimizers.md"):
        made = optimizer(tried, [{"params": [parameter], "lr": args.learning_rate}])
    with explained(f"--lr_scheduler={args.lr_scheduler}", "it refuses its arguments", "its lines in the launcher"):
        schedule(tried, made)
    if optimizer_facts.is_known(name):
        parameter.grad = torch.ones_like(parameter)  # not before: AdaFactor's schedule then asks for its step count
        with explained(f"--optimizer_type={given} fails at its first step", hint, "docs/optimizers.md"):
            made.step()


@contextmanager
def explained(what: str, hint: str, where: str) -> Iterator[None]:
    """One line for what goes wrong, and nothing of what the trainer will log again when it is in earnest."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    except FAULTS as error:
        require_caches()
        raise UserError(f"{what}: {english(error) or hint}; see {where}") from None
    finally:
        logging.disable(before)


def require_caches() -> None:
    """Raise OSError where torch's compiler cannot make its folder in TMPDIR.

    Libraries ask for the compiler when they are imported, pass over that it failed, and fail at something else.
    """
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    cache_dir()
