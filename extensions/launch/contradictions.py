"""Flags that cannot work together, found before anything is built, staged or loaded.

What concerns one plugin's own flags is refused by that plugin (`check_arguments`); here stands what concerns the
trainer's flags among themselves, for both trainers, and what a plugin would refuse in each of several processes
though the words alone tell it.
"""

from extensions.errors import UserError
from extensions.launch.flags import Flags

ATTENTION = ("mem_eff_attn", "xformers", "sdpa")
# These need each weight in its own shape; ZeRO hands the optimizer one flat piece of all of them.
NEED_SHAPES = {
    "adafactor": "factors the second moment by rows and columns",
    "came": "factors the second moment by rows and columns",
    "adamw4bit": "keeps its state by the shape of each weight",
    "adamw8bitao": "keeps its state by the shape of each weight",
    "cautious": "scales each weight's update by its own mask",
}


def check(flags: Flags) -> None:
    """UserError for the first contradiction."""
    attention(flags)
    zero(flags)
    dynamo(flags)


def attention(flags: Flags) -> None:
    """Upstream takes the first of these and is silent about the others."""
    given = [name for name in ATTENTION if name in flags]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} exclude each other: only the first would be used; drop one")


def zero(flags: Flags) -> None:
    """What DeepSpeed's ZeRO cannot do with these trainers and optimizers."""
    if "deepspeed" not in flags:
        return
    if flags.number("zero_stage", 2) == 3:
        raise UserError(
            "--zero_stage=3 splits the weights, and checkpoints of whole models are read off them; give 2 or less"
        )
    optimizer = f"{flags.get('optimizer_type', '')} {flags.get('optimizer_args', '')}"
    for name, what in NEED_SHAPES.items():
        if name in optimizer.lower().replace("_", ""):
            raise UserError(
                f"--optimizer_type={optimizer.strip()} does not work with --deepspeed: it {what}, and ZeRO joins "
                "all weights into one; use AdamW8bit, Lion or Lion8bit, or drop --deepspeed"
            )
    for name in ("fused_backward_pass", "fused_optimizer_groups"):
        if name in flags:
            raise UserError(f"--{name} updates weights in the backward pass, --deepspeed after it; drop one of them")
    if (how := flags.get("bf16_updates")) in ("stochastic", "kahan"):
        raise UserError(
            f"--bf16_updates={how} with --deepspeed: ZeRO keeps fp32 master weights and loses no update; drop one of them"
        )


def dynamo(flags: Flags) -> None:
    """--torch_compile is the plugin dynamo's."""
    plugins = (flags.get("extensions") or "").split(",")
    if "torch_compile" in flags and "dynamo" not in plugins:
        raise UserError(
            "--torch_compile needs the plugin dynamo: accelerate's own wrapper breaks with text encoders and "
            "compiles nothing under DeepSpeed; add dynamo to --extensions"
        )
