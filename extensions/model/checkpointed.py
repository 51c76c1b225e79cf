"""Lets pieces of the models keep their inputs alone and compute the rest again in the backward pass.

By PyTorch's non-reentrant checkpointing (torch.utils.checkpoint, use_reentrant=False): the graph is the one that an
ordinary forward pass makes, so that gradients are summed in the same order, to the bit. No generator's state is
stored: these models draw no random numbers. It stops as soon as what is needed is there
(`set_checkpoint_early_stop`, the default).
"""

from collections.abc import Collection

import torch
from torch.utils.checkpoint import checkpoint

from extensions.model.models import Models
from extensions.model.pieces import MARKS
from extensions.model.recomputation import UNET, Unit
from extensions.model.shapes import Shapes

# The ends of the same parameters' names in diffusers' U-Net and sd-scripts' for SD2.
DIFFUSERS = {"residual": ".conv1.weight", "block": MARKS["block"], "up": MARKS["up"]}


class Checkpointed:
    """A module's forward; while `on`, and where a gradient may be asked for, it keeps its inputs alone."""

    def __init__(self, forward):
        self.forward, self.on = forward, False

    def __call__(self, *arguments, **keywords):
        if not (self.on and torch.is_grad_enabled()):
            return self.forward(*arguments, **keywords)
        return checkpoint(self.forward, *arguments, use_reentrant=False, preserve_rng_state=False, **keywords)


def wrap(models: Models, units: Collection[Unit]) -> dict[Unit, Checkpointed]:
    """Wrap the modules of these pieces, on both trainers' models; none of them is recomputed yet."""
    found = {}
    for unit in units:
        module = module_of(models, unit)
        module.forward = found[unit] = Checkpointed(module.forward)
    return found


def recompute(wrapped: dict[Unit, Checkpointed], units: Collection[Unit]) -> None:
    """Recompute these of the wrapped pieces and keep the others; no forward pass is under way."""
    for unit, module in wrapped.items():
        module.on = unit in units


def module_of(models: Models, unit: Unit) -> torch.nn.Module:
    """Return the module of a piece. LookupError where the model has none."""
    model = models.named()[unit.model]
    if unit.model != UNET:
        end = f".layers.{unit.name}"
        return next(module for name, module in model.named_modules() if f".{name}".endswith(end))
    if models.unet_names is None:
        return model.get_submodule(unit.name)
    ldm = unit.name + MARKS[unit.kind]
    own = next(name for name, other in models.unet_names.items() if other == ldm)
    return model.get_submodule(own.removesuffix(DIFFUSERS[unit.kind]))


def shapes_of(models: Models) -> dict[str, Shapes]:
    """Return {"U-Net": shapes by LDM name, "text encoder 1": …} of the models at hand."""
    found = {name: dict(model.named_parameters()) for name, model in models.named().items()}
    found[UNET] = models.unet_parameters()
    return {name: {key: tuple(p.shape) for key, p in parameters.items()} for name, parameters in found.items()}


def trained_of(models: Models) -> dict[str, set[str]]:
    """Return the names of the parameters that get a gradient, as in `shapes_of`."""
    found = {name: dict(model.named_parameters()) for name, model in models.named().items()}
    found[UNET] = models.unet_parameters()
    return {name: {key for key, p in parameters.items() if p.requires_grad} for name, parameters in found.items()}
