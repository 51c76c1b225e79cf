"""Trains N% of the U-Net: --unet_percent, or regexes over parameter names.

Frozen means: no gradient is computed, no optimizer state is kept, gradient clipping does not see it.
The choice is made right before the optimizer is built, because upstream calls `requires_grad_(True)`
on the whole U-Net after loading it and would undo an earlier one.
"""

from extensions.base.errors import UserError
from extensions.flags import values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.model.unet_blocks import HISTORICAL, choose_frozen

FULL_SIZE = 2_567_463_684  # parameters of the full-size SDXL U-Net


def require_input_gradients(unet) -> None:
    """Let gradients reach every checkpointed block.

    Upstream's gradient checkpointing (reentrant) gives a block's parameters no gradient when none of its
    inputs needs one: with the timestep embedding frozen, that is every block up to the first trained one,
    without a word. The percentages never freeze the embedding; a regex may.
    """

    import torch

    def require(_module, inputs) -> None:
        inputs[0].requires_grad_(torch.is_grad_enabled())

    unet.register_forward_pre_hook(require)


class Plugin:
    """Freezes whole blocks, or what regexes say, and prints what is left to train."""

    claims = ("which U-Net parameters train",)
    excludes = {
        "block_lr": "both divide the U-Net into groups",
        "fused_optimizer_groups": "it makes several optimizers, and the parameters of one are chosen",
    }
    flags = (
        Flag(
            "unet_percent",
            values.percent,
            "share of the U-Net to train; 63, 68, 71 and 100 are the logbook's, any other number freezes the set of "
            "whole blocks that comes closest",
            unit="% of its parameters",
        ),
        Flag("unet_train", values.regex, "train only U-Net parameters whose name matches"),
        Flag("unet_freeze", values.regex, "freeze U-Net parameters whose name matches"),
    )

    @hookimpl
    def check_arguments(self, args):
        self.args = args
        if args.unet_percent is None and not (args.unet_train or args.unet_freeze):
            raise UserError("unet_percent is listed without --unet_percent, --unet_train or --unet_freeze; give one")
        if args.unet_percent is not None and (args.unet_train or args.unet_freeze):
            raise UserError("--unet_percent and --unet_train/--unet_freeze both choose what trains; give one of them")
        if args.learning_rate == 0:
            raise UserError(
                "--unet_percent with --learning_rate=0: the U-Net does not train at all; drop one of them"
            )

    @hookimpl
    def select_parameters(self, models, groups):
        frozen = self.frozen_names(models)
        for name, parameter in models.unet_parameters().items():
            if name in frozen:
                parameter.requires_grad_(False)
        if self.args.unet_percent is None and getattr(self.args, "gradient_checkpointing", False):
            require_input_gradients(models.unet)
        if not any(parameter.requires_grad for parameter in models.unet.parameters()):
            raise UserError("--unet_train/--unet_freeze leave no U-Net parameter to train; see the names in the log")

    def frozen_names(self, models) -> set[str]:
        """Return names of the U-Net parameters that stay as they are; prints which and how many."""
        sizes = {name: parameter.numel() for name, parameter in models.unet_parameters().items()}
        if self.args.unet_percent is None:
            frozen = self.frozen_by_regex(sizes)
            self.report(sizes, frozen, "regex")
            return frozen
        blocks = choose_frozen(sizes, self.args.unet_percent, models.family)
        frozen = {name for name in sizes if name.startswith(tuple(f"{block}." for block in blocks))}
        self.report(sizes, frozen, ", ".join(blocks) or "nothing")
        return frozen

    def frozen_by_regex(self, sizes: dict[str, int]) -> set[str]:
        """Return names that --unet_freeze matches or --unet_train does not.

        UserError for a regex that matches none.
        """
        for flag in ("unet_train", "unet_freeze"):
            pattern = getattr(self.args, flag)
            if pattern and not any(pattern.search(name) for name in sizes):
                raise UserError(f"--{flag}={pattern.pattern} matches no U-Net parameter, e.g. {next(iter(sizes))}")
        train, freeze = self.args.unet_train, self.args.unet_freeze
        return {name for name in sizes if (train and not train.search(name)) or (freeze and freeze.search(name))}

    def report(self, sizes: dict[str, int], frozen: set[str], what: str) -> None:
        """Print counts and the frozen blocks."""
        total = sum(sizes.values())
        trainable = total - sum(sizes[name] for name in frozen)
        print(f"unet_percent: training {trainable:,} of {total:,} U-Net parameters ({100 * trainable / total:.2f} %)")
        historical = HISTORICAL.get(self.args.unet_percent)
        if historical and total != FULL_SIZE:
            share = 100 * historical.trainable / FULL_SIZE
            print(f"unet_percent: the same blocks of the full-size U-Net are {share:.2f} % of {FULL_SIZE:,}")
        print(f"unet_percent: frozen: {what}", flush=True)
