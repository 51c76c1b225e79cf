"""Plans what frees memory on several GPUs, and what the freed memory buys: a row a lever, each with those before it.

All leave the result as it is, to the bit, but the last: it sums the text encoders' gradients in another order than
`--gradient_checkpointing`. Speeds are expected, not measured: the recorded micro-step of four RTX 3090, by the work
that it is now, and the weights and gradients that travel (`communication.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from extensions import manager
from extensions.flags import settings
from extensions.flags.settings import UNET
from extensions.flags.words import Flags
from extensions.model import full_size, recomputation
from extensions.model.piece_costs import FLOPS, layer_flops
from extensions.model.pieces import Pass, text_tokens, with_shapes
from extensions.model.recomputation import AUTO, MARGIN, UPSTREAM, layer_widths
from extensions.model.shapes import Shapes
from extensions.optimizers.partition import CLAIM
from extensions.plan import communication, vram
from extensions.plan.vram import GB, Fit, Setup

AGAIN = ("residual", "block", "up", "down")  # what upstream computes again
RECOMPUTE = "recompute"  # the flag of the plugin that chooses
# The recorded runs whose micro-step is known.
KNOWN = Flags.of_text(
    "--learning_rate=1.5e-6 --train_text_encoder --full_bf16 --mixed_precision=bf16 --gradient_checkpointing "
    "--xformers --extensions=unet_percent --unet_percent=71 --gradient_accumulation_steps=4 "
    "--optimizer_type=AdamW8bit --ddp_gradients_as_upstream"
)


@dataclass(frozen=True)
class Lever:
    """What a run needs with a lever, and gives. gb: of each GPU. speed: images a second over all."""

    name: str
    gb: float
    speed: float


def of(flags: Flags, gpus: int, card: float, fit: Fit) -> list[Lever]:
    """Return the levers, in order; none for one GPU, ZeRO, or a family of which no micro-step is recorded."""
    config = settings.of_words(flags)
    if gpus == 1 or config.zero_stage is not None or config.family != "sdxl" or not config.plugins:
        return []
    found = []
    for name, changed in steps(flags):
        setup = vram.setup(changed, gpus)
        needed = vram.need(setup, fit)
        if setup.recompute == AUTO:
            setup = filled(setup, settings.of_words(changed), (card * (1 - MARGIN) - needed) * GB)
            needed = vram.need(setup, fit)
        found.append(Lever(name, needed, expected(setup)))
    return found


def steps(flags: Flags) -> Iterator[tuple[str, Flags]]:
    """Yield (what is done, flags with it) from upstream's way on; each lever with those before it."""
    divider, chooser = manager.claimer_of(CLAIM), manager.owner_of_flag(RECOMPUTE)
    others = [name for name in settings.of_words(flags).plugins if name not in (divider, chooser)]
    bare = flags.without(RECOMPUTE, settings.AS_UPSTREAM, "ddp_gradient_as_bucket_view").with_(
        "gradient_checkpointing"
    )
    once = bare.with_("extensions", ",".join(others or [str(chooser)])).with_(RECOMPUTE, UPSTREAM)
    yield "as upstream", once.with_(settings.AS_UPSTREAM)
    yield "gradients once, by itself", once
    divided = once.with_("extensions", ",".join([*others, str(divider)])).without(RECOMPUTE)
    yield f"and {divider}", divided
    chosen = divided.without("gradient_checkpointing").with_(RECOMPUTE, AUTO)
    yield f"and --{RECOMPUTE}={AUTO}", chosen.with_("extensions", ",".join([*others, str(divider), str(chooser)]))


def filled(setup: Setup, config: settings.Settings, spare: float) -> Setup:
    """Return the setup with as much kept as a card has to spare. spare: bytes."""
    return replace(setup, kept=vram.kept(config, setup.shape, spare))


def expected(setup: Setup) -> float:
    """Return images a second on the recorded machine with the fastest memory."""
    micro_step = communication.micro_step() * work(setup) / work(vram.setup(KNOWN, communication.GPUS))
    exchange = communication.of(setup)
    travel = exchange.bytes / communication.bandwidth(communication.LONG_HOST) if exchange else 0.0
    return setup.gpus * setup.shape.batch * setup.ga / (setup.ga * micro_step + travel)


def work(setup: Setup) -> float:
    """Return FLOPs of a micro-step: forward, backward and what is computed again.

    The backward pass is the forward one for what it passes on, and as much of it again as trains.
    """
    shapes, total = full_size.shapes(setup.family), 0.0
    for model in setup.models:
        forward = recomputation.forward_flops({model.name: shapes[model.name]}, setup.shape)
        passed = (1 + model.trainable / model.total) * forward if model.trains else 0.0
        total += forward + passed
        if setup.kept is None and setup.shape.checkpointing and model.trains:
            total += all_again(model.name, shapes[model.name], setup.shape)
    return total + (setup.kept.flops if setup.kept else 0.0)


def all_again(name: str, shapes: Shapes, one: Pass) -> float:
    """FLOPs that --gradient_checkpointing computes again: whole pieces."""
    if name == UNET:
        return sum(FLOPS[piece.kind](piece, own, one)[0] for piece, own in with_shapes(shapes) if piece.kind in AGAIN)
    return sum(layer_flops(width, text_tokens(one), one)[0] for width in layer_widths(shapes))


HEAD = ["what fits, lever by lever", "GB", "images/s, expected"]


def rows(found: list[Lever]) -> list[list[str]]:
    """Return the table's rows."""
    return [[lever.name, f"{lever.gb:.2f}", f"{lever.speed:.2f}"] for lever in found]
