"""Computes the memory of one GPU, by part, from a run's flags.

Every part but two follows from shapes, types and the source of the libraries. The two are fitted to the
recorded readings (vram_fit.py): what context, NCCL, cuDNN and the allocator's rounding take (`Fit.reserve`),
and how much of the rest of the card the allocator of a single process keeps cached (`Fit.cached`).

Parts are added up, whenever in a step they exist: PyTorch's allocator keeps freed blocks, and a large tensor
does not fit into the blocks that activations leave behind. GB are 2**30 bytes, as cards are sold.
"""

from dataclasses import dataclass

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import settings
from extensions.flags.settings import UNET, Settings
from extensions.flags.words import Flags
from extensions.model import activations, full_size, recomputation
from extensions.model.pieces import Pass
from extensions.model.recomputation import Choice
from extensions.optimizers.partition import CLAIM
from extensions.plan import trained
from extensions.plan.trained import Model
from extensions.plan.updating import plain_parts, zero_parts

GB = 2**30
ATTENTION = ("xformers", "sdpa", "mem_eff_attn")
BUCKET = {"sdxl": 1024, "sd2": 768}  # pixels of the largest square bucket
OFFLOAD = ("offload_optimizer_device", "offload_param_device")
# Of what is counted of an image, taken beyond it by each image after the first: convolutions' workspace, and blocks
# that the allocator keeps and cannot use. Read by users of sd-scripts in bf16 and fp32 (its issue 1259).
FURTHER = 0.2
BEYOND = "activations, beyond what is counted"
FUSED = ("fused_backward_pass", "fused_optimizer_groups")


@dataclass(frozen=True)
class Setup:
    """What decides the memory of one process; `models` say what trains. width: bytes of a trained weight.

    gradients_twice: in DDP's buckets, too. sharded: each weight's optimizer state on one rank. rounding:
    --bf16_updates where it steps stand-ins, else "". recompute: as in the settings; kept: what it keeps of
    activations, None where that is the trainer's own way.
    """

    models: tuple[Model, ...]
    family: str
    optimizer: str
    gpus: int
    ga: int
    width: int
    mixed: bool
    zero: bool
    gradients_twice: bool
    sharded: bool
    rounding: str
    encoders_cached: bool
    latents_cached: bool
    shape: Pass
    recompute: str | float
    kept: Choice | None


@dataclass(frozen=True)
class Fit:
    """The fitted constants. reserve: GB. cached: share of the card's rest, of a single process."""

    reserve: float
    cached: float


def unmodelled(flags: Flags) -> str:
    """Why there is no estimate for these flags; "" where there is one."""
    stage = settings.of_words(flags).zero_stage
    if stage not in (None, 2):
        return f"--zero_stage={stage} (stage 2 is)"
    return next((f"--{name}" for name in (*OFFLOAD, *FUSED) if name in flags), "")


def setup(flags: Flags, gpus: int) -> Setup:
    """Return the setup of a run's flags. UserError for flags that make no sense."""
    config = settings.of_words(flags)
    zero, mixed = config.zero_stage is not None, config.mixed_precision != "no"
    shape = one_pass(flags, config)
    return Setup(
        models=tuple(trained.models(config)),
        family=config.family,
        optimizer=config.optimizer,
        gpus=gpus,
        ga=config.accumulation,
        width=2 if config.full_precision or (zero and mixed) else 4,
        mixed=mixed,
        zero=zero,
        gradients_twice=gpus > 1 and not zero and not gradients_once(flags, config),
        sharded=gpus > 1 and manager.claimer_of(CLAIM, config.plugins) is not None,
        rounding="" if config.rounding == settings.NEAREST else config.rounding,
        encoders_cached="cache_text_encoder_outputs" in flags or encoders_leave(flags, config),
        latents_cached=any(name in flags for name in ("cache_latents", "cache_latents_to_disk", "dataset_class")),
        shape=shape,
        recompute=config.recompute,
        kept=kept(config, shape),
    )


def gradients_once(flags: Flags, config: Settings) -> bool:
    """Tell whether several processes keep no second copy of their gradients in DDP's buckets.

    Upstream's flag alone makes gradients views of them in synchronised backward passes, so without accumulation.
    """
    return config.gradients_once or ("ddp_gradient_as_bucket_view" in flags and config.accumulation == 1)


def encoders_leave(flags: Flags, config: Settings) -> bool:
    """Tell whether text encoders' outputs are read from a pack and no plugin asks the encoders as the run goes."""
    return "text_outputs" in flags and not any(hasattr(manager.declared(name), "evaluate") for name in config.plugins)


def one_pass(flags: Flags, config: Settings) -> Pass:
    """Return the largest bucket, batch and number of tokens of one pass."""
    width, height = resolution(flags.get("resolution"), BUCKET[config.family])
    return Pass(
        width=width,
        height=height,
        batch=config.batch_size,
        tokens=config.tokens,
        number=2 if config.mixed_precision != "no" else 4,
        checkpointing="gradient_checkpointing" in flags or config.recompute != recomputation.UPSTREAM,
        efficient_attention=any(name in flags for name in ATTENTION),
    )


def kept(config: Settings, shape: Pass, spare: float = 0.0) -> Choice | None:
    """Return what --recompute keeps of the activations; None for the trainer's own way. spare: bytes for `auto`."""
    if config.recompute == recomputation.UPSTREAM:
        return None
    shapes = full_size.shapes(config.family)
    names = {model: trained.trained(model, tensors, config) for model, tensors in shapes.items()}
    units = recomputation.units_of(shapes, names, shape)
    budget = recomputation.budget_of(config.recompute, spare)
    return recomputation.choose(units, budget, recomputation.forward_flops(shapes, shape))


def resolution(text: str | None, default: int) -> tuple[int, int]:
    """--resolution as upstream reads it: "1024" or "1024,768", in pixels. UserError for anything else."""
    try:
        sides = [int(side) for side in text.split(",")] if text else [default]
        width, height = sides * 2 if len(sides) == 1 else sides
    except ValueError:
        raise UserError(f"--resolution={text} is neither a number of pixels nor width,height") from None
    return width, height


def parts(setup: Setup) -> dict[str, float]:
    """Return {part: bytes} of one process, without the fitted reserve; parts that are nothing are left out."""
    training = [model for model in setup.models if model.trains]
    trainable = sum(model.trainable for model in training)
    found = {"weights, U-Net": 0.0, "weights, text encoders": 0.0}
    for model in setup.models:
        found["weights, U-Net" if model.name == UNET else "weights, text encoders"] += weights(model, setup)
    if setup.mixed and setup.width == 4:
        found["16-bit copies of trained weights (autocast)"] = 2 * trainable
    found |= zero_parts(setup, training) if setup.zero else plain_parts(setup, training)
    if not setup.latents_cached:
        found["weights, autoencoder"] = 83_653_863 * (2 if setup.mixed else 4)
    found["activations"] = activation_bytes(setup, training)
    found[BEYOND] = FURTHER * found["activations"] * (1 - 1 / setup.shape.batch)
    return {name: size for name, size in found.items() if size}


def weights(model: Model, setup: Setup) -> float:
    """Weights of one model: trained ones as full_* says, others in the mixed precision's type."""
    if model.name != UNET and setup.encoders_cached:
        return 0.0
    return model.total * (setup.width if model.trains else 2 if setup.mixed else 4)


def activation_bytes(setup: Setup, training: list[Model]) -> float:
    """Return the U-Net's pass, and those of the text encoders that train."""
    shapes = full_size.shapes(setup.family)
    kept = setup.kept.kept if setup.kept else ()
    (unet,) = (model for model in setup.models if model.name == UNET)
    pieces = {unit.name for unit in kept if unit.model == UNET}
    total = activations.bytes_of(shapes[UNET], setup.shape, pieces, unet.names)
    for model in training:
        if model.name != UNET:
            quick = recomputation.is_quick(model.name, len(shapes))
            total += activations.text_bytes(shapes[model.name], quick, setup.shape)
    return total + sum(unit.bytes for unit in kept if unit.model != UNET)


def need(setup: Setup, fit: Fit, before_first_step: bool = False) -> float:
    """GB that a process must have. before_first_step: without what the optimizer only has from then on."""
    found = parts(setup)
    kept = {name: size for name, size in found.items() if not (before_first_step and "optimizer" in name)}
    return sum(kept.values()) / GB + fit.reserve


def shown(needed: float, gpus: int, card: float, fit: Fit) -> float:
    """GB that nvidia-smi shows: the need, what one process alone keeps cached, never more than the card."""
    cached = fit.cached * max(0.0, card - needed) if gpus == 1 else 0.0
    return min(card, needed + cached)
