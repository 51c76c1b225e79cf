"""Keeps the activations that memory allows and computes the rest again in the backward pass (--recompute).

    --recompute=auto       as much is kept as the card holds (default)
    --recompute=4.5        so many GB of activations are kept
    --recompute=all        everything is computed again
    --recompute=none       nothing is
    --recompute=upstream   the trainer's own --gradient_checkpointing, as if the plugin were not listed

Which pieces are kept is decided by the FLOPs that a byte saves (`model/recomputation.py`). It changes no bit of the
result, and a resume may change it. The trainer's own way is another: its reentrant checkpointing sums the gradients
of the text's states in another order, so that a run goes from one to the other with --resume_allow=flags alone.

`auto` measures. The first two optimizer steps of a launch recompute everything; the second one has all that a step
ever holds beside activations. What the card has left then is kept from there on, less a margin, and less what the
largest bucket takes more than those that were seen. Of several processes the one with the least decides. Without a
card, as on a CPU, everything is recomputed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.processes import from_all
from extensions.flags import attention, settings, values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.model import activations, recomputation
from extensions.model.pieces import LATENT, Pass
from extensions.model.recomputation import ALL, AUTO, GB, MARGIN, UNET, UPSTREAM, Choice

if TYPE_CHECKING:
    import torch

    from extensions.loop import Run
    from extensions.model.models import Models

MEASURED = 2  # optimizer steps until a step has held all that it ever holds
SIDE = {"sdxl": 1024, "sd2": 768}  # pixels of the largest square bucket, where the data do not say


def spare(device: torch.device) -> float:
    """Bytes of a card that nothing has needed so far, less the margin: what is free, less what PyTorch gave back."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    again = torch.cuda.max_memory_reserved(device) - torch.cuda.memory_reserved(device)
    return free - again - MARGIN * total


class Plugin:
    """Wraps what can be recomputed when everything is prepared, and chooses among it."""

    neutral = True
    claims = ("what is recomputed",)
    excludes = {
        "torch_compile": "what compiled code keeps is the compiler's choice",
        "fused_backward_pass": "it was not tried",
    }
    flags = (
        Flag(
            "recompute",
            values.recompute,
            "activations to keep: as many as the card holds (auto), a number of GB, none of them (all is computed "
            "again) or all (none is); upstream: as --gradient_checkpointing says",
            default=AUTO,
        ),
    )
    models: Models
    largest: Pass

    def __init__(self):
        self.said: str | float = UPSTREAM
        self.units: list[recomputation.Unit] = []
        self.wrapped: dict = {}
        self.forward, self.seen = 0.0, 0.0
        self.steps = 0  # that are still to be measured
        self.choice: Choice | None = None  # that is not told yet

    @hookimpl
    def check_arguments(self, args):
        self.said = args.recompute
        if self.said != UPSTREAM and args.gradient_checkpointing:
            raise UserError(
                f"--gradient_checkpointing and --recompute={args.recompute} contradict each other: the plugin "
                "decides what is recomputed; take --gradient_checkpointing out, or give --recompute=upstream"
            )

    @hookimpl
    def models_loaded(self, models):
        self.models = models

    @hookimpl
    def training_begins(self, run):
        if self.said == UPSTREAM:
            return
        from extensions.model import checkpointed

        shapes = checkpointed.shapes_of(self.models)
        self.largest = largest_pass(run, self.models.family)
        self.units = recomputation.units_of(shapes, checkpointed.trained_of(self.models), self.largest)
        self.forward = recomputation.forward_flops(shapes, self.largest)
        self.wrapped = checkpointed.wrap(self.models, self.units)
        self.unet_shapes = shapes[UNET]
        if self.said != AUTO:
            self.choose(run, recomputation.budget_of(self.said), f"recompute={self.said}")
        elif run.accelerator.device.type == "cuda":
            self.steps = MEASURED
            checkpointed.recompute(self.wrapped, self.units)
            run.accelerator.print(f"recompute=auto: all is recomputed for {MEASURED} optimizer steps, and measured")
        else:
            self.choose(run, recomputation.budget_of(ALL), "recompute=auto: no card, so as all")

    def choose(self, run: Run, budget: float, head: str) -> None:
        """Keep what fits a budget in bytes, and say so."""
        from extensions.model import checkpointed

        self.choice = recomputation.choose(self.units, budget, self.forward)
        checkpointed.recompute(self.wrapped, self.choice.recomputed)
        run.accelerator.print(f"{head}: {self.choice.text()}")

    @hookimpl
    def micro_step_ended(self, batch):
        if self.steps:
            cached = batch.get("latents") is not None  # else sd-scripts encodes the images in each micro-step
            count, _, height, width = batch["latents" if cached else "images"].shape
            scale = LATENT if cached else 1
            one = replace(self.largest, width=width * scale, height=height * scale, batch=count)
            self.seen = max(self.seen, activations.bytes_of(self.unet_shapes, one))

    @hookimpl
    def optimizer_step_ended(self, run):
        if self.steps:
            self.steps -= 1
            if not self.steps:
                self.choose_measured(run)
        if self.choice and run.accelerator.is_main_process:
            manager.current().hook.figures_measured(run=run, figures={"recompute": self.choice.record()})
        self.choice = None

    def choose_measured(self, run: Run) -> None:
        """Keep what the card that has the least left of all processes' takes."""
        missing = max(0.0, activations.bytes_of(self.unet_shapes, self.largest) - self.seen)
        budget = min(from_all(run.accelerator, spare(run.accelerator.device) - missing))
        budget = recomputation.budget_of(AUTO, budget)
        self.choose(run, budget, f"recompute=auto: {budget / GB:.2f} GB to spare")


def largest_pass(run: Run, family: str) -> Pass:
    """Return the pass that needs the most: the largest bucket of the data, with the longest texts that are usual."""
    config = settings.of_args(run.args)
    dataset = run.dataloader.dataset if run.dataloader else None
    buckets = getattr(getattr(dataset, "metadata", None), "buckets", None) or [(SIDE[family],) * 2]
    width, height = max(buckets, key=lambda bucket: bucket[0] * bucket[1])
    return Pass(
        width=width,
        height=height,
        batch=config.batch_size,
        tokens=config.tokens,
        number=2 if config.mixed_precision != "no" else 4,
        efficient_attention=any(getattr(run.args, name, False) for name in attention.NAMES),
    )
