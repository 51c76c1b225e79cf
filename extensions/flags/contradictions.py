"""Refuses flags that cannot work together, before anything is built, staged or loaded.

What concerns one plugin's own flags is refused by that plugin (`excludes`, `check_arguments`); here stands what
concerns the trainer's flags among themselves, for both trainers.
"""

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import attention as kinds
from extensions.flags import declared, pairs, settings
from extensions.flags.settings import Settings
from extensions.flags.words import Flags
from extensions.optimizers import under_zero

ZERO_3 = (
    "offload_param_device", "offload_param_nvme_path", "zero3_init_flag", "zero3_save_16bit_model",
    "offload_optimizer_nvme_path",
)  # fmt: skip
IN_BACKWARD = ("fused_backward_pass", "fused_optimizer_groups")


def check(flags: Flags, processes: int) -> Settings:
    """Return the settings. UserError for the first contradiction. processes: of the whole run, on all machines."""
    made = settings.of_words(flags)
    attention(flags)
    form_of_checkpoints(flags.get("save_model_as"))
    pairs.check(flags)
    declared.check(made.plugins, flags.__contains__)
    zero(flags, made)
    in_backward(flags, made, processes)
    compiling(flags, made)
    return made


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


def form_of_checkpoints(form: str | None) -> None:
    """Refuse diffusers' folders. form: of --save_model_as, None where it is not given.

    Upstream makes them with what it fetches from a hub, at the first save, for full-size models alone, and not whole
    or not at all.
    """
    if form is not None and form.lower().startswith("diffusers"):
        raise UserError(
            f"--save_model_as={form} needs files from a hub when the first checkpoint is due; give safetensors, and "
            "convert it with diffusers' StableDiffusionXLPipeline.from_single_file(…).save_pretrained(…)"
        )


def zero(flags: Flags, made: Settings) -> None:
    """Refuse what DeepSpeed's ZeRO cannot do with these trainers and optimizers, where it is asked for."""
    if made.zero_stage is None:
        return
    if made.zero_stage > 2:
        raise UserError(
            f"--zero_stage={made.zero_stage} splits the weights, and checkpoints of whole models are read off them; "
            "give 2 or less"
        )
    if given := [name for name in ZERO_3 if name in flags]:
        raise UserError(f"--{given[0]} belongs to --zero_stage=3, which saves no whole models; take it out")
    zero_optimizer(flags, made)
    offload(flags, made)
    for name in IN_BACKWARD:
        if name in flags:
            raise UserError(f"--{name} updates weights in the backward pass, --deepspeed after it; drop one of them")


def zero_optimizer(flags: Flags, made: Settings) -> None:
    """ZeRO hands the optimizer flat pieces of all weights, cut anywhere."""
    given = " ".join(filter(None, [made.optimizer, flags.get("optimizer_args")]))
    instead = "use AdamW, AdamW8bit, Lion or Lion8bit, or drop --deepspeed"
    what = under_zero.shapes_of(made.optimizer, made.optimizer_args)
    if what is None:
        raise UserError(
            f"--optimizer_type={given} is not known to work with --deepspeed, which joins all weights into one; "
            f"{instead}"
        )
    if what:
        raise UserError(
            f"--optimizer_type={given} does not work with --deepspeed: it {what}, and ZeRO joins all weights into "
            f"one; {instead}"
        )


def offload(flags: Flags, made: Settings) -> None:
    """accelerate makes an optimizer of its own where the state is to lie in the machine's memory."""
    device = flags.get("offload_optimizer_device", "none")
    if device == "none":
        return
    if device != "cpu":
        raise UserError(f"--offload_optimizer_device={device} belongs to --zero_stage=3; give cpu, or take it out")
    if made.optimizer_class != "adamw" or set(made.optimizer_args) - {"weight_decay"}:
        raise UserError(
            "--offload_optimizer_device=cpu puts DeepSpeed's own AdamW in the optimizer's place, which takes "
            "weight_decay alone; give --optimizer_type=AdamW and no other --optimizer_args, or take it out"
        )


def in_backward(flags: Flags, made: Settings, processes: int) -> None:
    """Optimizers that step each weight as soon as its gradient is there, before anything is averaged or summed."""
    name = next((name for name in IN_BACKWARD if name in flags), None)
    if name is None:
        return
    if processes > 1:
        raise UserError(
            f"--{name} steps before the gradients of {processes} processes are averaged, and their weights would "
            "drift apart; give GPUS=1, or drop it"
        )
    if made.accumulation > 1:
        raise UserError(
            f"--{name} steps in every backward pass, --gradient_accumulation_steps={made.accumulation} sums several; "
            "drop one of them"
        )
    if name == "fused_backward_pass" and made.optimizer_class != "adafactor":
        raise UserError("--fused_backward_pass is written for --optimizer_type=AdaFactor alone; give it, or drop it")


def compiling(flags: Flags, made: Settings) -> None:
    """--torch_compile is a plugin's: accelerate's own way does not work here."""
    if "torch_compile" not in flags:
        return
    if manager.reader_of("torch_compile", made.plugins) is None:
        owner = manager.reader_of("torch_compile")
        raise UserError(
            f"--torch_compile needs the plugin {owner}: accelerate's own wrapper breaks with text encoders and "
            f"compiles nothing under DeepSpeed; add {owner} to --extensions"
        )
    if made.optimizer.startswith("torchao."):
        raise UserError(
            f"--optimizer_type={made.optimizer} with --torch_compile: torchao compiles its step for each shape of "
            "weight, within the limits of the models' graphs; use extensions.optimizers.AdamW4bit"
        )
