"""Chooses how bf16 weights take an update: `--bf16_updates=nearest`, `stochastic` or `kahan`.

With --full_bf16 the weights, too, have 8 bits of precision. At the learning rates of the logbook an update is
smaller than half a unit of most weights and is rounded away by `nearest`, which is what every optimizer does by
itself and what the recorded runs did. `stochastic` rounds up or down at random, right in the mean, and keeps
nothing. `kahan` keeps what was cut off in a bf16 buffer (2 bytes a parameter, in the optimizer's state) and adds
it to the next update.

How it is done, and what it costs: extensions/optimizers/updates.py.
"""

from extensions.base.errors import UserError
from extensions.flags import settings
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.optimizers import facts as optimizer_facts

NEAREST, STOCHASTIC, KAHAN = WAYS = ("nearest", "stochastic", "kahan")


class Plugin:
    """Refuses what makes it pointless, then changes how the optimizer steps."""

    claims = ("how bf16 weights are rounded",)
    excludes = {"deepspeed": "ZeRO keeps fp32 master weights and loses no update"}
    flags = (
        Flag(
            "bf16_updates",
            str,
            "how bf16 weights take an update: nearest (the optimizer's own), stochastic (right in the mean, nothing "
            "kept) or kahan (keeps what is cut off, 2 bytes a parameter)",
            choices=WAYS,
        ),
    )
    run = None

    @hookimpl
    def check_arguments(self, args):
        self.args = args
        how = args.bf16_updates
        if how is None:
            raise UserError("bf16_updates is listed without --bf16_updates; give nearest, stochastic or kahan")
        if not getattr(args, "full_bf16", False):
            raise UserError(f"--bf16_updates={how} without --full_bf16 has no effect: weights are fp32; drop it")
        if how != NEAREST:
            refuse_other_paths(args)

    @hookimpl
    def optimizer_built(self, optimizer):
        how = self.args.bf16_updates
        if how == NEAREST:
            return
        if optimizer_facts.of_optimizer(optimizer) is None:
            name = f"{type(optimizer).__module__}.{type(optimizer).__name__}"
            raise UserError(f"--bf16_updates={how}: {name} is not one of docs/optimizers.md; give nearest")
        from extensions.optimizers.updates import Updates

        Updates(optimizer, how == KAHAN, self.args.seed or 0, self.steps)

    def steps(self) -> int:
        """Optimizer steps done so far, those before a resume among them."""
        return self.run.optimizer_steps if self.run else 0

    @hookimpl
    def training_begins(self, run):
        import torch

        self.run = run
        parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
        narrow = sum(p.numel() for p in parameters if p.dtype == torch.bfloat16)
        if not narrow:
            raise UserError(
                f"--bf16_updates={self.args.bf16_updates}: this trainer kept the weights in fp32; drop it"
            )
        if self.args.bf16_updates != NEAREST:
            require_equal_gpus(run.accelerator)
        if run.accelerator.is_main_process:
            print(f"bf16_updates: {self.args.bf16_updates}, {narrow:,} bf16 parameters", flush=True)


def refuse_other_paths(args) -> None:
    """Raise UserError for what steps elsewhere, or rounds by itself."""
    how = f"--bf16_updates={args.bf16_updates}"
    for flag in ("fused_backward_pass", "fused_optimizer_groups"):
        if getattr(args, flag, None):
            raise UserError(f"{how} with --{flag}: parameters are updated in the backward pass; drop one of them")
    words = list(args.optimizer_args or [])
    if any(word.startswith("bf16_stochastic_round") for word in words):
        raise UserError(f"{how} and --optimizer_args bf16_stochastic_round both decide the rounding; drop the latter")
    optimizer = settings.of_args(args).optimizer
    try:
        optimizer_facts.of_flag(optimizer, words)
    except UserError as error:
        raise UserError(f"{how}: {error}, or --bf16_updates=nearest") from None


def require_equal_gpus(accelerator) -> None:
    """Refuse GPUs of several kinds: they make other random bits of one seed, and weights would drift apart."""
    if accelerator.num_processes == 1 or accelerator.device.type != "cuda":
        return
    import torch
    from accelerate.utils import gather_object

    kinds = set(gather_object([torch.cuda.get_device_name()]))
    if len(kinds) > 1:
        raise UserError(f"--bf16_updates needs GPUs of one kind, here are {', '.join(sorted(kinds))}; give nearest")
