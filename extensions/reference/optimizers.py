"""Makes optimizers and learning-rate schedules by the names that the launchers use."""

import importlib

from diffusers.optimization import get_scheduler as diffusers_scheduler
from transformers import get_scheduler as transformers_scheduler
from transformers.optimization import Adafactor, AdafactorSchedule

from extensions.base.errors import UserError
from extensions.flags.literals import literals
from extensions.optimizers import facts as optimizer_facts

# Upstream's names, which ignore case; any other name is one of torch.optim or a dotted one.
NAMES = optimizer_facts.classes()
# What each schedule of transformers' takes besides the steps.
SPECIFIC = {
    "cosine_with_restarts": lambda args: {"num_cycles": args.lr_scheduler_num_cycles},
    "polynomial": lambda args: {"power": args.lr_scheduler_power},
}


def optimizer(args, groups: list[dict]):
    """Return the optimizer of --optimizer_type over parameter groups {"params": [...], "lr": float}.

    UserError for a name or argument that does not exist. AdaFactor with relative_step (its default here as
    upstream) chooses its own rate: --learning_rate then only shapes the log.
    """
    keywords = literals("optimizer_args", args.optimizer_args)
    cls = class_of(args.optimizer_type)
    rate = args.learning_rate
    if cls is Adafactor:
        keywords["relative_step"] = keywords.get("relative_step", True) or keywords.get("warmup_init", False)
        if keywords["relative_step"]:
            groups = [{key: value for key, value in group.items() if key != "lr"} for group in groups]
            rate = None
    try:
        return cls(groups, lr=rate, **keywords)
    except (TypeError, ValueError) as error:
        given = " ".join([args.optimizer_type or "AdamW", *(args.optimizer_args or [])])
        raise UserError(f"--optimizer_type={given}: {error}; see the optimizer's own arguments") from None


def class_of(name: str):
    """Return the class that --optimizer_type names. UserError where there is none."""
    dotted = NAMES.get(name.lower() or "adamw", name if "." in name else f"torch.optim.{name}")
    module, _, attribute = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        known = ", ".join(NAMES)
        raise UserError(f"--optimizer_type={name}: {error}; give one of {known}, or a dotted name") from None


def lr_scheduler(args, made, num_processes: int):
    """Return the schedule of --lr_scheduler. UserError for an unknown name or arguments that it does not take.

    accelerate's wrapper advances it by num_processes an optimizer step; its length is stretched to fit. A
    warm-up given as a number of steps is not stretched: upstream's rule, so with n processes it is over
    after an n-th of that many optimizer steps.
    """
    keywords = literals("lr_scheduler_args", args.lr_scheduler_args)
    steps = args.max_train_steps * num_processes
    warmup = args.lr_warmup_steps
    warmup = int(warmup * steps) if isinstance(warmup, float) else warmup
    name = args.lr_scheduler
    relative = isinstance(made, Adafactor) and made.defaults["relative_step"]
    if warmup and (relative or name == "constant"):
        raise UserError(f"--lr_warmup_steps={args.lr_warmup_steps} has no effect on this schedule; drop it")
    if relative or name.startswith("adafactor"):
        if not isinstance(made, Adafactor):
            raise UserError(f"--lr_scheduler={name} belongs to --optimizer_type=AdaFactor; give another one")
        return AdafactorSchedule(made, args.learning_rate if relative else float(name.partition(":")[2]))
    try:
        if name == "piecewise_constant":
            return diffusers_scheduler(name, made, **keywords)
        keywords |= SPECIFIC.get(name, lambda _: {})(args)
        return transformers_scheduler(name, made, warmup, steps, scheduler_specific_kwargs=keywords)
    except (TypeError, ValueError) as error:
        raise UserError(f"--lr_scheduler={name}: {' '.join(str(error).split())}") from None
