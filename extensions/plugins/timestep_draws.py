"""Draws the timesteps by a law of your own, and so that the samples of an update differ in them.

    --timestep_draws=stratified   all ranks and micro-steps of an update together cover the law evenly (default)
    --timestep_draws=independent  each sample by itself
    --timestep_draws=upstream     from the trainer's random stream: under sd-scripts alike on every rank
    --timestep_law=logit_normal --timestep_mean=0 --timestep_deviation=1
    --timestep_law=beta --timestep_alpha=2 --timestep_beta=5
    --timestep_shift=3            more noise; resolution: by the root of each image's pixels

A law is one of s, the level of noise from 0 to 1: flow is told 1,000 s as it is; epsilon and v the whole timestep
below, so that `uniform` is the trainers' own law. --min_timestep and --max_timestep cut it off, in timesteps.
Stratified and independent draws are a function of --seed, the optimizer step and the sample's place in its update
(`objectives/draws.py`): a resume, or another number of processes with the same global batch, draws the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.base.errors import UserError
from extensions.flags import settings, values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.model.diffusion import TIMESTEPS
from extensions.model.prediction import FLOW
from extensions.objectives import draws, flow, laws

if TYPE_CHECKING:
    import torch

LAW_OF = {
    "timestep_mean": laws.LOGIT_NORMAL, "timestep_deviation": laws.LOGIT_NORMAL, "timestep_alpha": laws.BETA,
    "timestep_beta": laws.BETA,
}  # fmt: skip


class Plugin:
    """Draws; adds no noise itself."""

    claims = ("the timesteps",)
    flags = (
        Flag(
            "timestep_draws",
            str,
            "who draws: from the trainer's stream, or each sample of an update for itself, or all of them evenly",
            default=draws.STRATIFIED,
            choices=draws.DRAWS,
        ),
        Flag("timestep_law", str, "of the level of noise", default=laws.UNIFORM, choices=laws.LAWS),
        Flag("timestep_mean", values.real, "logit_normal: of the logit (0)"),
        Flag("timestep_deviation", values.above_zero, "logit_normal: standard deviation of the logit (1)"),
        Flag("timestep_alpha", values.above_zero, "beta: its first parameter"),
        Flag("timestep_beta", values.above_zero, "beta: its second"),
        Flag("timestep_shift", values.shift, "k: s becomes k s / (1 + (k - 1) s); resolution: sqrt(pixels / 1024^2)"),
    )

    def __init__(self):
        self.micro_steps = 0  # of the optimizer step under way

    @hookimpl
    def check_arguments(self, args):
        """Refuse flags that would do nothing, and settle the law."""
        for name, law in LAW_OF.items():
            if getattr(args, name) is not None and args.timestep_law != law:
                raise UserError(f"--{name} does nothing with --timestep_law={args.timestep_law}; take it out")
        if args.timestep_law == laws.BETA and None in (args.timestep_alpha, args.timestep_beta):
            raise UserError("--timestep_law=beta needs --timestep_alpha and --timestep_beta; give both")
        if args.timestep_shift == 1:
            raise UserError("--timestep_shift=1 does nothing; take it out")
        self.range, self.by = settings.timestep_range(args), args.timestep_draws
        self.shift, self.flow = args.timestep_shift or 1.0, settings.of_args(args).prediction == FLOW
        self.refuse_nothing(args)
        if self.by != draws.UPSTREAM and args.seed is None:
            raise UserError(f"--timestep_draws={self.by} draws from --seed; give one")
        self.seed = args.seed
        self.law = laws.Law(
            args.timestep_law,
            args.timestep_mean or 0.0,
            args.timestep_deviation or 1.0,
            args.timestep_alpha or 1.0,
            args.timestep_beta or 1.0,
        )

    def refuse_nothing(self, args) -> None:
        """Raise UserError where all is as it would be without the plugin."""
        low, high = self.range
        if low == high:
            raise UserError(
                f"timestep_draws does nothing where --min_timestep and --max_timestep are both {low}; drop it"
            )
        if self.by == draws.UPSTREAM and args.timestep_law == laws.UNIFORM and args.timestep_shift is None:
            raise UserError(
                "timestep_draws does nothing with --timestep_draws=upstream and neither law nor shift; give "
                "--timestep_draws=stratified, or take timestep_draws out"
            )

    @hookimpl
    def draw_timesteps(self, run, shape, process) -> torch.Tensor:
        import torch

        low, high = self.range
        shift = flow.shift_of(self.shift, 64 * shape[2] * shape[3])
        bounds = low / TIMESTEPS, high / TIMESTEPS
        levels = [laws.level_of(self.law, number, shift, *bounds) for number in self.numbers(run, shape[0], process)]
        if self.flow:
            return torch.tensor([TIMESTEPS * level for level in levels], dtype=torch.float32)
        last = max(high - 1, low)
        return torch.tensor([min(max(int(TIMESTEPS * level), low), last) for level in levels])

    def numbers(self, run, count: int, process: int) -> list[float]:
        """Return the uniform numbers of a process's batch of so many samples, in the micro-step under way."""
        import torch

        if self.by == draws.UPSTREAM:
            return torch.rand(count, dtype=torch.float64, device="cpu").tolist()
        step, of_batch = run.optimizer_steps, run.args.train_batch_size
        batches = run.args.gradient_accumulation_steps * run.accelerator.num_processes
        first = self.place(run, process) * of_batch
        places = range(first, first + count)
        if self.by == draws.INDEPENDENT:
            return [draws.independent(self.seed, step, place) for place in places]
        return [draws.stratified(self.seed, step, place, batches * of_batch) for place in places]

    def place(self, run, process: int) -> int:
        """Return which batch of its update a process sees, in the order in which the data are drawn."""
        if run.position:
            return run.position.places.drawn(run.optimizer_steps, self.micro_steps, process)
        return self.micro_steps * run.accelerator.num_processes + process

    @hookimpl
    def micro_step_ended(self):
        self.micro_steps += 1

    @hookimpl
    def optimizer_step_ended(self):
        self.micro_steps = 0
