"""Gives what a run does not train the base model's bits again, when a checkpoint is made.

A text encoder that does not train is held in bf16, to be run in it, and `--full_bf16` rounds frozen blocks, too:
right for the forward pass, and a loss in the file, which chains of runs would hand on.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from extensions.model.checkpoint import TE1_SDXL, TE2_SDXL, TE_SD2, UNET, VAE
from extensions.model.models import Models
from extensions.model.prediction import MARKS
from extensions.model.text_names import open_clip_name

Tensors = dict[str, torch.Tensor]


def mapped(path: str | Path) -> Tensors:
    """Return all tensors of a safetensors file by name.

    They are views of the mapped file: they take no memory until they are read, and outlive its removal.
    """
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # it is no dict


def with_base_bits(written: Tensors, base: Mapping[str, torch.Tensor], models: Models, dtype=None) -> Tensors:
    """Return the tensors of a checkpoint, what did not train as the base has it: in `dtype`, or in the base's own.

    A frozen tensor that is not the base's, rounded to what it is held in, has been trained in an earlier life of the
    run (a state that others than now froze nothing in), and stays. The autoencoder never trains.
    """
    found = dict(written)
    for name, held in frozen(models).items():
        if name in found and name in base:
            rounded = base[name].to(held).to(found[name].dtype)
            if same_bits(rounded, found[name]):
                found[name] = base[name].to(dtype or base[name].dtype)
    for name in found:
        if name.startswith(VAE) and name in base:
            found[name] = base[name].to(dtype or base[name].dtype)
    return found


def marked(written: Tensors, marks: Iterable[str]) -> Tensors:
    """Return the tensors with these marks of the prediction, and without others: they are empty tensors."""
    kept = {name: tensor for name, tensor in written.items() if name not in MARKS}
    return kept | {name: torch.empty(0) for name in marks}


def frozen(models: Models) -> dict[str, torch.dtype]:
    """Return {name in the file: dtype that it is held in} of the tensors of which no part trains."""
    held: dict[str, torch.dtype] = {}
    trains: set[str] = set()
    for name, _, parameter in placed(models):
        held[name] = parameter.dtype
        if parameter.requires_grad:
            trains.add(name)  # query, key and value are three parameters and one tensor
    return {name: dtype for name, dtype in held.items() if name not in trains}


def placed(models: Models) -> Iterator[tuple[str, int, torch.nn.Parameter]]:
    """Yield (name in the file, its first element there, parameter) of every parameter, in the order of the models.

    Query, key and value of an open_clip layer are three parameters and one tensor of the file.
    """
    yield from ((UNET + name, 0, parameter) for name, parameter in models.unet_parameters().items())
    *first, last = models.text_encoders or [None]
    for encoder in first:
        bare = TE1_SDXL.removesuffix("text_model.")
        yield from ((bare + name, 0, parameter) for name, parameter in encoder.named_parameters())
    prefix = TE2_SDXL if models.family == "sdxl" else TE_SD2
    for name, parameter in last.named_parameters() if last is not None else ():
        own, third = open_clip_name(name)
        yield prefix + own, (third or 0) * parameter.numel(), parameter


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors are equal to the bit, NaN and negative zero among them."""
    one, other = (each.detach().to("cpu").contiguous().flatten().view(torch.uint8) for each in (one, other))
    return torch.equal(one, other)
