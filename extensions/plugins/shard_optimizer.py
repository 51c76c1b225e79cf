"""Keeps each weight's optimizer state on one rank, under plain DDP: 1/N of it on each of N GPUs, the same bits.

A rank steps its own weights and sends them to the others (`extensions/optimizers/sharding.py`). It costs what they
take to travel, once an optimizer step, and saves as much of the step's own time as of its memory; ZeRO-2
(`--deepspeed`) also divides gradients, and reduces them at every micro-step.

A training state has a file of each rank, by weight: it goes on with any number of processes, with this plugin or
without, and so does one that was saved without it.
"""

from types import MethodType

from extensions.base.errors import UserError
from extensions.flags import settings
from extensions.hookspecs import hookimpl
from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers import partition


class Plugin:
    """Divides the optimizer, whatever another plugin has made of its step."""

    claims = (partition.CLAIM,)
    neutral = True
    excludes = {"deepspeed": "ZeRO divides the optimizer's state by itself"}

    @hookimpl
    def check_arguments(self, args):
        config = settings.of_args(args)
        try:
            optimizer_facts.of_flag(config.optimizer, list(args.optimizer_args or []))
        except UserError as error:
            raise UserError(f"shard_optimizer: {error}, or take shard_optimizer out of --extensions") from None
        self.kept_beside = config.remainder_bytes

    @hookimpl(trylast=True)
    def optimizer_built(self, optimizer):
        from extensions.optimizers.sharding import Shards

        shards, inner = Shards(optimizer, self.kept_beside), optimizer.step
        optimizer.step = MethodType(lambda _, *given, **named: shards.step(inner, *given, **named), optimizer)

    @hookimpl
    def training_begins(self, run):
        from extensions.optimizers import sharding

        shards = sharding.of(run.optimizer)
        if shards is not None and run.accelerator.is_main_process:
            own, whole = shards.own_bytes() / 2**30, sum(shards.costs) / 2**30
            print(f"shard_optimizer: {own:.2f} of {whole:.2f} GB of state on this rank", flush=True)
