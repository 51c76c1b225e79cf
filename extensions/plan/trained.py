"""Which parameters of the full-size models a run trains, from the tensors' shapes. Nothing is loaded."""

import re
from dataclasses import dataclass
from functools import cache
from math import prod

from extensions.base.errors import UserError
from extensions.flags.words import Flags
from extensions.model.full_size import UNET, shapes
from extensions.model.shapes import Shapes
from extensions.model.unet_blocks import choose_frozen

# SDXL's U-Net reads text encoder 1 before its last layer, so upstream freezes that layer and the final norm.
UNREAD = ("text_model.encoder.layers.11.", "text_model.final_layer_norm.")


@dataclass(frozen=True)
class Model:
    """One model of a run. total: all its parameters; trained: shapes of those that get a gradient."""

    name: str
    total: int
    trained: tuple[tuple[int, ...], ...]

    @property
    def trainable(self) -> int:
        return sum(map(prod, self.trained))

    @property
    def trains(self) -> bool:
        return bool(self.trained)


def models(flags: Flags) -> list[Model]:
    """The models of a run with these flags. UserError for a share or regex that makes no sense."""
    family = family_of(flags)
    return [
        Model(name, sum(map(prod, tensors.values())), tuple(trained(name, tensors, flags, family).values()))
        for name, tensors in shapes(family).items()
    ]


def family_of(flags: Flags) -> str:
    """The family by --v2: "sd2" or "sdxl"."""
    return "sd2" if "v2" in flags else "sdxl"


def trained(name: str, tensors: Shapes, flags: Flags, family: str) -> Shapes:
    """The tensors of one model that get a gradient."""
    if not learning_rate(name, flags, family):
        return {}
    if name == UNET:
        return trained_unet(tensors, flags, family)
    if family == "sdxl" and name == "text encoder 1":
        return {key: shape for key, shape in tensors.items() if not key.startswith(UNREAD)}
    return tensors


def learning_rate(name: str, flags: Flags, family: str) -> float:
    """A model's rate by upstream's rules, 0 where it does not train. SD2's U-Net always trains."""
    unet = number(flags, "learning_rate", "2e-6")
    if name == UNET:
        return unet if family == "sdxl" else unet or 1.0
    if "train_text_encoder" not in flags:
        return 0.0
    own = f"learning_rate_te{name.removeprefix('text encoder ')}" if family == "sdxl" else "learning_rate_te"
    return number(flags, own, str(unet)) if family == "sdxl" else number(flags, own, str(unet)) or 1.0


def number(flags: Flags, name: str, default: str) -> float:
    """A flag's value as a number. UserError for anything else."""
    text = flags.get(name, default)
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--{name}={text} is not a number; see its line in the launcher") from None


def trained_unet(tensors: Shapes, flags: Flags, family: str) -> Shapes:
    """What --unet_percent, --unet_train and --unet_freeze leave of the U-Net."""
    train, freeze = pattern(flags, "unet_train"), pattern(flags, "unet_freeze")
    kept = {key: s for key, s in tensors.items() if not train or train.search(key)}
    kept = {key: s for key, s in kept.items() if not (freeze and freeze.search(key))}
    if not kept:
        raise UserError("--unet_train/--unet_freeze leave no U-Net parameter to train; see the names in a log")
    blocks = frozen_blocks(family, percent(flags))
    return {key: shape for key, shape in kept.items() if not key.startswith(blocks)}


def pattern(flags: Flags, name: str) -> re.Pattern | None:
    """A flag's regex, None where it is absent. UserError for what is no regex."""
    text = flags.get(name)
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise UserError(f"--{name}={text} is not a regular expression: {error}") from None


def percent(flags: Flags) -> float:
    """--unet_percent, 100 where it is absent. UserError outside (0, 100]."""
    value = number(flags, "unet_percent", "100")
    if not 0 < value <= 100:
        raise UserError(f"--unet_percent={value:g} is not above 0 and up to 100")
    return value


@cache
def frozen_blocks(family: str, share: float) -> tuple[str, ...]:
    """Prefixes of the U-Net's frozen parameters; empty for 100."""
    sizes = {key: prod(shape) for key, shape in shapes(family)[UNET].items()}
    return tuple(f"{block}." for block in choose_frozen(sizes, share, family))
