"""Counts the parameters of the full-size models that a run trains, from the tensors' shapes. Nothing is loaded."""

from dataclasses import dataclass
from functools import cache
from math import prod

from extensions.base.errors import UserError
from extensions.flags.settings import UNET, Settings
from extensions.model.full_size import shapes
from extensions.model.shapes import Shapes
from extensions.model.unet_blocks import choose_frozen

# SDXL's U-Net reads text encoder 1 before its last layer, so upstream freezes that layer and the final norm.
UNREAD = ("text_model.encoder.layers.11.", "text_model.final_layer_norm.")


@dataclass(frozen=True)
class Model:
    """One model of a run. total: all its parameters; trained: shapes of those that get a gradient; names: theirs."""

    name: str
    total: int
    trained: tuple[tuple[int, ...], ...]
    names: frozenset[str] = frozenset()

    @property
    def trainable(self) -> int:
        return sum(map(prod, self.trained))

    @property
    def trains(self) -> bool:
        return bool(self.trained)


def models(config: Settings) -> list[Model]:
    """Return the models of a run with these settings. UserError for regexes that leave nothing."""
    found = []
    for name, tensors in shapes(config.family).items():
        some = trained(name, tensors, config)
        found.append(Model(name, sum(map(prod, tensors.values())), tuple(some.values()), frozenset(some)))
    return found


def trained(name: str, tensors: Shapes, config: Settings) -> Shapes:
    """Return the tensors of one model that get a gradient."""
    if name not in config.rates:
        return {}
    if name == UNET:
        return trained_unet(tensors, config)
    if config.family == "sdxl" and name == "text encoder 1":
        return {key: shape for key, shape in tensors.items() if not key.startswith(UNREAD)}
    return tensors


def trained_unet(tensors: Shapes, config: Settings) -> Shapes:
    """Return what --unet_percent, --unet_train and --unet_freeze leave of the U-Net."""
    train, freeze = config.unet_train, config.unet_freeze
    kept = {key: s for key, s in tensors.items() if not train or train.search(key)}
    kept = {key: s for key, s in kept.items() if not (freeze and freeze.search(key))}
    if not kept:
        raise UserError("--unet_train/--unet_freeze leave no U-Net parameter to train; see the names in a log")
    blocks = frozen_blocks(config.family, config.unet_percent)
    return {key: shape for key, shape in kept.items() if not key.startswith(blocks)}


@cache
def frozen_blocks(family: str, share: float) -> tuple[str, ...]:
    """Prefixes of the U-Net's frozen parameters; empty for 100."""
    sizes = {key: prod(shape) for key, shape in shapes(family)[UNET].items()}
    return tuple(f"{block}." for block in choose_frozen(sizes, share, family))
