"""Lays out the tensors of an export by name, shape and where each comes from; nothing is read.

The single file has the names and shapes of the published one; a folder of diffusers those of its models. The names
are translated by the tables that the trainers load with, and by diffusers' own conversions, which are asked with
numbers in the place of tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from extensions.model import published, text_names
from extensions.model.checkpoint import TE1_SDXL, TE2_SDXL, TE_SD2, UNET, VAE, Header
from extensions.model.shapes import Shapes
from extensions.model.shapes_text import POSITIONS
from extensions.model.sizes import SD2_TEXT_LAYERS, vae_config
from extensions.model.unet_names import ldm_of_diffusers

TE1 = TE1_SDXL.removesuffix("text_model.")
# Of SDXL's published file; whole numbers, which no loader reads and a strict one misses.
POSITION_IDS = TE1_SDXL + "embeddings.position_ids"


@dataclass(frozen=True)
class Entry:
    """One tensor of a file. source: its name in the checkpoint; third: that of three parts, None for all of it.

    transposed: rows and columns change places. constant: what it is, where no tensor of the checkpoint is its source.
    """

    name: str
    shape: tuple[int, ...]
    source: str = ""
    third: int | None = None
    transposed: bool = False
    constant: torch.Tensor | None = None


def single_file(header: Header, marks: Iterable[str]) -> list[Entry]:
    """Return the tensors of the published file, and the empty ones that say what the U-Net predicts.

    What no loader reads and the checkpoint has not (SD2's 24th layer, logit_scale) is left out.
    """
    required, optional = published.layout(header, header.family)
    kept = required | {name: shape for name, shape in optional.items() if name in header.shapes}
    entries = [Entry(name, shape, name) for name, shape in kept.items()]
    if header.family == "sdxl":
        ids = torch.arange(POSITIONS).unsqueeze(0)
        entries.append(Entry(POSITION_IDS, tuple(ids.shape), constant=ids))
    entries += [Entry(mark, (0,), constant=torch.empty(0)) for mark in marks]
    return sorted(entries, key=lambda entry: entry.name)


def parts(header: Header) -> dict[str, list[Entry]]:
    """Return the tensors of each model of diffusers' folder, by the name of its sub-folder."""
    models = {"unet": unet(header), "vae": vae(header)}
    if header.family == "sdxl":
        required, _ = published.layout(header, "sdxl")
        first = [name for name in required if name.startswith(TE1_SDXL)]
        models["text_encoder"] = [Entry(name.removeprefix(TE1), required[name], name) for name in first]
        models["text_encoder_2"] = open_clip(
            header, TE2_SDXL, header.layers(f"{TE2_SDXL}transformer.resblocks."), True
        )
    else:
        models["text_encoder"] = open_clip(header, TE_SD2, SD2_TEXT_LAYERS, False)
    return models


def unet(header: Header) -> list[Entry]:
    """Return the U-Net's tensors under diffusers' names."""
    required, _ = published.layout(header, header.family)
    wanted = [name for name in required if name.startswith(UNET)]
    return [Entry(name, required[UNET + ldm], UNET + ldm) for name, ldm in ldm_of_diffusers(wanted).items()]


def open_clip(header: Header, prefix: str, layers: int, projected: bool) -> list[Entry]:
    """Return a text encoder that is stored in open_clip's layout, under transformers' names.

    open_clip multiplies the pooled state by `text_projection`, transformers by its transpose, so it is transposed.
    """
    found = []
    for name in transformers_names(layers, projected):
        own, third = text_names.open_clip_name(name)
        shape = header.shape(prefix + own)
        transposed = own == "text_projection"
        if third is not None:
            shape = (shape[0] // 3, *shape[1:])
        found.append(Entry(name, shape[::-1] if transposed else shape, prefix + own, third, transposed))
    return found


def transformers_names(layers: int, projected: bool) -> list[str]:
    """Return the names of a CLIP text model's parameters."""
    names = [name for name in text_names.OUTER if projected or name != "text_projection.weight"]
    modules = [*text_names.INNER, *text_names.THIRDS]
    for number in range(layers):
        inside = f"text_model.encoder.layers.{number}."
        names += [f"{inside}{module}.{kind}" for module in modules for kind in ("weight", "bias")]
    return names


def vae(header: Header) -> list[Entry]:
    """Return the autoencoder's tensors under diffusers' names; its attention has matrices there, no 1 x 1 kernels."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    required, _ = published.layout(header, header.family)
    names = [name for name in required if name.startswith(VAE)]
    numbers = {name: numbered(number, required[name]) for number, name in enumerate(names)}
    found = convert_ldm_vae_checkpoint(numbers, vae_config(header))
    entries = []
    for name, number in found.items():
        source = names[int(number.flatten()[0])]
        shape = required[source]
        entries.append(Entry(name, shape if number.dim() == len(shape) else shape[: number.dim()], source))
    return entries


def numbered(number: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a tensor of one element with as many axes: a conversion moves it as it moves what it stands for."""
    return torch.full((1,) * len(shape), float(number))


def shapes_of(entries: Iterable[Entry]) -> Shapes:
    """Return {name: shape}."""
    return {entry.name: entry.shape for entry in entries}
