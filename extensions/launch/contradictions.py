"""Flags that cannot work together, found before anything is built, staged or loaded.

What concerns one plugin's own flags is refused by that plugin (`check_arguments`); here stands what concerns the
trainer's flags among themselves, for both trainers, and what a plugin would refuse in each of several processes
though the words alone tell it.
"""

from extensions.errors import UserError
from extensions.launch import attention as kinds
from extensions.launch.flags import Flags
from extensions.reference.flags import literals

FACTORS = "factors the second moment by rows and columns"
# These need each weight in its own shape; ZeRO hands the optimizer one flat piece of all of them.
NEED_SHAPES = {
    "adafactor": FACTORS,
    "came": FACTORS,
    "adamw4bit": "keeps its state by the shape of each weight",
}
MASKS = "scales each weight's update by its own mask"
# Flags that upstream reads together with a switch only, and what trains without it.
NEED_A_SWITCH = {
    "deepspeed": (
        ("zero_stage", "offload_optimizer_device", "offload_optimizer_nvme_path", "offload_param_device",
         "offload_param_nvme_path", "zero3_init_flag", "zero3_save_16bit_model", "fp16_master_weights_and_gradients"),
        "every process would keep the whole optimizer state, as under DDP",
    ),
    "torch_compile": (("dynamo_backend",), "nothing would be compiled"),
}  # fmt: skip


def check(flags: Flags) -> None:
    """UserError for the first contradiction."""
    attention(flags)
    without_effect(flags)
    zero(flags)
    dynamo(flags)


def attention(flags: Flags) -> None:
    """Upstream takes the first of these and is silent about the others."""
    given = [name for name in kinds.NAMES if name in flags]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} exclude each other: only the first would be used; drop one")


def without_effect(flags: Flags) -> None:
    """What asks for an engine that is not switched on."""
    for switch, (names, instead) in NEED_A_SWITCH.items():
        given = [name for name in names if name in flags] if switch not in flags else []
        if given:
            raise UserError(
                f"--{given[0]} without --{switch} has no effect: {instead}; add --{switch}, or take --{given[0]} out"
            )


def zero(flags: Flags) -> None:
    """What DeepSpeed's ZeRO cannot do with these trainers and optimizers."""
    if "deepspeed" not in flags:
        return
    if flags.number("zero_stage", 2) == 3:
        raise UserError(
            "--zero_stage=3 splits the weights, and checkpoints of whole models are read off them; give 2 or less"
        )
    if what := needs_shapes(flags):
        given = " ".join(filter(None, [flags.get("optimizer_type"), flags.get("optimizer_args")]))
        raise UserError(
            f"--optimizer_type={given} does not work with --deepspeed: it {what}, and ZeRO joins "
            "all weights into one; use AdamW8bit, Lion or Lion8bit, or drop --deepspeed"
        )
    for name in ("fused_backward_pass", "fused_optimizer_groups"):
        if name in flags:
            raise UserError(f"--{name} updates weights in the backward pass, --deepspeed after it; drop one of them")
    if (how := flags.get("bf16_updates")) in ("stochastic", "kahan"):
        why = "ZeRO keeps fp32 master weights and loses no update"
        raise UserError(f"--bf16_updates={how} with --deepspeed: {why}; drop one of them")


def needs_shapes(flags: Flags) -> str | None:
    """What the optimizer does with the shape of each weight; None where it needs none.

    UserError for an --optimizer_args that is not name=value with a Python literal.
    """
    name = flags.get("optimizer_type", "").rpartition(".")[2].lower()
    arguments = literals("optimizer_args", flags.values.get("optimizer_args"))
    # Two libraries' names for one thing: a switch, and the share that is kept of what the mask takes away.
    masks = arguments.get("cautious", name == "cautiouslion") or arguments.get("cautious_factor", 1) != 1
    return MASKS if masks else NEED_SHAPES.get(name)


def dynamo(flags: Flags) -> None:
    """--torch_compile is the plugin dynamo's."""
    plugins = (flags.get("extensions") or "").split(",")
    if "torch_compile" in flags and "dynamo" not in plugins:
        raise UserError(
            "--torch_compile needs the plugin dynamo: accelerate's own wrapper breaks with text encoders and "
            "compiles nothing under DeepSpeed; add dynamo to --extensions"
        )
