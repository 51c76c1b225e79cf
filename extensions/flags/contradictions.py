"""Flags that cannot work together, found before anything is built, staged or loaded.

What concerns one plugin's own flags is refused by that plugin (`check_arguments`); here stands what concerns the
trainer's flags among themselves, for both trainers, and what a plugin would refuse in each of several processes
though the words alone tell it.
"""

from extensions.base.errors import UserError
from extensions.flags import attention as kinds
from extensions.flags import pairs
from extensions.flags.literals import literals
from extensions.flags.words import Flags

FACTORS = "factors the second moment by rows and columns"
# These need each weight in its own shape; ZeRO hands the optimizer one flat piece of all of them.
NEED_SHAPES = {
    "adafactor": FACTORS,
    "came": FACTORS,
    "adamw4bit": "keeps its state by the shape of each weight",
}
MASKS = "scales each weight's update by its own mask"
# Their state and step are one number's at a time, so that any cut of the weights is as good as another.
ELEMENTWISE = {
    "", "adam", "adamw", "adamw8bit", "adamw32bit", "pagedadamw", "pagedadamw8bit", "pagedadamw32bit", "lion",
    "lion8bit", "pagedlion8bit", "cautiouslion", "sgd",
}  # fmt: skip
ZERO_3 = (
    "offload_param_device", "offload_param_nvme_path", "zero3_init_flag", "zero3_save_16bit_model",
    "offload_optimizer_nvme_path",
)  # fmt: skip
IN_BACKWARD = ("fused_backward_pass", "fused_optimizer_groups")
# Plugins that know one optimizer, where --fused_optimizer_groups makes several.
OF_ONE_OPTIMIZER = {"save_states": "keeps the state of", "unet_percent": "chooses the parameters of"}


def check(flags: Flags, processes: int) -> None:
    """UserError for the first contradiction. processes: of the whole run, on all machines."""
    attention(flags)
    pairs.check(flags)
    zero(flags)
    in_backward(flags, processes)
    dynamo(flags)


def listed(flags: Flags) -> list[str]:
    """The plugins of --extensions."""
    return (flags.get("extensions") or "").split(",")


def attention(flags: Flags) -> None:
    """Upstream takes the first of these and is silent about the others."""
    given = [name for name in kinds.NAMES if name in flags]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} exclude each other: only the first would be used; drop one")
    if "diffusers_xformers" in flags:
        raise UserError(
            "--diffusers_xformers leaves the U-Net without xformers: upstream then asks the VAE alone for it; "
            "take it out, --xformers is enough"
        )


def zero(flags: Flags) -> None:
    """What DeepSpeed's ZeRO cannot do with these trainers and optimizers."""
    if "deepspeed" not in flags:
        return
    if flags.number("zero_stage", 2) == 3:
        raise UserError(
            "--zero_stage=3 splits the weights, and checkpoints of whole models are read off them; give 2 or less"
        )
    if given := [name for name in ZERO_3 if name in flags]:
        raise UserError(f"--{given[0]} belongs to --zero_stage=3, which saves no whole models; take it out")
    zero_optimizer(flags)
    offload(flags)
    for name in IN_BACKWARD:
        if name in flags:
            raise UserError(f"--{name} updates weights in the backward pass, --deepspeed after it; drop one of them")
    if "bf16_updates" in flags or "bf16_updates" in listed(flags):
        how = f"={flags.get('bf16_updates')}" if "bf16_updates" in flags else ""
        raise UserError(
            f"--bf16_updates{how} with --deepspeed: ZeRO keeps fp32 master weights and loses no update; drop one of "
            "them"
        )


def zero_optimizer(flags: Flags) -> None:
    """ZeRO hands the optimizer flat pieces of all weights, cut anywhere."""
    given = " ".join(filter(None, [flags.get("optimizer_type"), flags.get("optimizer_args")]))
    instead = "use AdamW, AdamW8bit, Lion or Lion8bit, or drop --deepspeed"
    if what := needs_shapes(flags):
        raise UserError(
            f"--optimizer_type={given} does not work with --deepspeed: it {what}, and ZeRO joins all weights into "
            f"one; {instead}"
        )
    if named(flags) not in ELEMENTWISE:
        raise UserError(
            f"--optimizer_type={given} is not known to work with --deepspeed, which joins all weights into one; "
            f"{instead}"
        )


def offload(flags: Flags) -> None:
    """accelerate makes an optimizer of its own where the state is to lie in the machine's memory."""
    device = flags.get("offload_optimizer_device", "none")
    if device == "none":
        return
    if device != "cpu":
        raise UserError(f"--offload_optimizer_device={device} belongs to --zero_stage=3; give cpu, or take it out")
    others = set(literals("optimizer_args", flags.values.get("optimizer_args"))) - {"weight_decay"}
    if named(flags) not in ("", "adamw") or "use_8bit_adam" in flags or "use_lion_optimizer" in flags or others:
        raise UserError(
            "--offload_optimizer_device=cpu puts DeepSpeed's own AdamW in the optimizer's place, which takes "
            "weight_decay alone; give --optimizer_type=AdamW and no other --optimizer_args, or take it out"
        )


def named(flags: Flags) -> str:
    """The name of the optimizer's class, in lower case; "" where none is given."""
    return flags.get("optimizer_type", "").rpartition(".")[2].lower()


def needs_shapes(flags: Flags) -> str | None:
    """What the optimizer does with the shape of each weight; None where it needs none.

    UserError for an --optimizer_args that is not name=value with a Python literal.
    """
    name = named(flags)
    arguments = literals("optimizer_args", flags.values.get("optimizer_args"))
    # Two libraries' names for one thing: a switch, and the share that is kept of what the mask takes away.
    masks = arguments.get("cautious", name == "cautiouslion") or arguments.get("cautious_factor", 1) != 1
    return MASKS if masks else NEED_SHAPES.get(name)


def in_backward(flags: Flags, processes: int) -> None:
    """Optimizers that step each weight as soon as its gradient is there, before anything is averaged or summed."""
    name = next((name for name in IN_BACKWARD if name in flags), None)
    if name is None:
        return
    if processes > 1:
        raise UserError(
            f"--{name} steps before the gradients of {processes} processes are averaged, and their weights would "
            "drift apart; give GPUS=1, or drop it"
        )
    if (accumulation := flags.number("gradient_accumulation_steps", 1)) > 1:
        raise UserError(
            f"--{name} steps in every backward pass, --gradient_accumulation_steps={accumulation} sums several; "
            "drop one of them"
        )
    if name == "fused_backward_pass":
        if named(flags) != "adafactor":
            raise UserError(
                "--fused_backward_pass is written for --optimizer_type=AdaFactor alone; give it, or drop it"
            )
        return
    for plugin, does in OF_ONE_OPTIMIZER.items():
        if plugin in listed(flags):
            raise UserError(
                f"--fused_optimizer_groups makes several optimizers, and {plugin} {does} one; drop one of them"
            )


def dynamo(flags: Flags) -> None:
    """--torch_compile is the plugin dynamo's."""
    if "torch_compile" not in flags:
        return
    if "dynamo" not in listed(flags):
        raise UserError(
            "--torch_compile needs the plugin dynamo: accelerate's own wrapper breaks with text encoders and "
            "compiles nothing under DeepSpeed; add dynamo to --extensions"
        )
    if flags.get("optimizer_type", "").startswith("torchao."):
        raise UserError(
            f"--optimizer_type={flags.get('optimizer_type')} with --torch_compile: torchao compiles its step for "
            "each shape of weight, within the limits of the models' graphs; use extensions.optimizers.AdamW4bit"
        )
