"""Holds an export, as diffusers loads it, against the models that the trainers build of its checkpoint.

Both in float32, of the values that the export stores: what differs is a fault of the export, and no rounding. Ours
come first, a model at a time, then theirs: in memory are at most the export as it is stored and what one model takes
more in float32.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)

from extensions.base.errors import UserError
from extensions.handing_on import diffusers_layout, layout
from extensions.handing_on.stored import Source
from extensions.handing_on.told import Objective
from extensions.model import text_names, untrained
from extensions.model.checkpoint import TE2_SDXL, TE_SD2, UNET, VAE, Header
from extensions.model.unet_names import ldm_of_diffusers
from extensions.reference.text import Text
from extensions.text.encoding import encode_sd2, encode_sdxl
from extensions.text.tokenizers import ensure_tokenizers

TOLERANCE = 1e-5  # of the largest value of an output
TEXTS = [
    "1girl, red hair, (smile:1.2), masterpiece",
    "a photograph of a red fox in the snow at dusk, seen from behind",
]
SIDE = 16  # of the latents: 128 pixels, for a U-Net call of seconds
UNET_CALL, AUTOENCODER = "U-Net", "autoencoder"


def compare(export: Path, header: Header, objective: Objective, source: Source) -> dict[str, float]:
    """Return {what: the largest difference over the largest value}. UserError where one is beyond TOLERANCE."""
    with torch.inference_mode(), quiet():
        wanted = dict(ours(header, source))
        for name, value in wanted.items():
            if not bool(value.isfinite().all()):
                raise UserError(f"{header.path}: its {name} gives NaN or infinity; give an earlier checkpoint")
        found = {
            name: difference(wanted[name], value) for name, value in theirs(export, header, objective, source.dtype)
        }
    worst = max(found, key=lambda name: found[name])
    if not found[worst] <= TOLERANCE:  # nor NaN
        raise UserError(
            f"nothing is exported: {worst}, as diffusers loads it, is {found[worst]:.1e} of its largest value from "
            f"{header.path}'s own, more than {TOLERANCE:.0e}; try another FORMAT=, and report this"
        )
    return found


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference as a share of our largest value; infinity where the shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    largest = ours.abs().max().item()
    return (ours - theirs).abs().max().item() / (largest or 1.0)


def ours(header: Header, source: Source) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the outputs of the models that the trainers build, one model in memory at a time."""
    family = header.family
    models = diffusers_layout.empty(header)  # of the trainers' own configurations
    encoders = [models.pop(name) for name in sorted(models) if name.startswith("text_encoder")]
    for encoder, prefix in zip(encoders, (layout.TE1, TE2_SDXL) if family == "sdxl" else (TE_SD2,), strict=True):
        names = dict(encoder.named_parameters())
        read = reading(source, prefix)
        fill(encoder, {name: read(name) for name in names} if prefix == layout.TE1
             else text_names.from_open_clip(names, read))  # fmt: skip
    yield from zip(names_of(family), encoded(encoders, family), strict=True)
    del encoders, encoder
    gc.collect()
    unet, names = models.pop("unet"), ldm_of_diffusers(name for name in header.shapes if name.startswith(UNET))
    fill(unet, {name: source.rounded(UNET + ldm) for name, ldm in names.items()})
    yield UNET_CALL, predicted(unet)
    del unet
    gc.collect()
    vae = models.pop("vae")
    tensors = {name: source.rounded(name) for name in header.shapes if name.startswith(VAE)}
    fill(vae, convert_ldm_vae_checkpoint(tensors, vae.config))
    yield AUTOENCODER, decoded(vae)


def reading(source: Source, prefix: str):
    """Return a function that reads a tensor below a prefix in float32."""
    return lambda name: source.rounded(prefix + name)


def fill(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Give an empty model its weights; they are only read, and may be views of a file."""
    model.load_state_dict(tensors, assign=True)
    model.eval()


def names_of(family: str) -> tuple[str, ...]:
    """Return what the text encoders give, as it is called."""
    return ("text encoders", "text encoder 2, pooled") if family == "sdxl" else ("text encoder",)


def encoded(encoders: list, family: str) -> list[torch.Tensor]:
    """Encode the texts as a training does without plugins, but for the side that `text_projection` is on.

    That is open_clip's, as in diffusers, ComfyUI and A1111; the trainers multiply from the other (text_names.py).
    """
    with tempfile.TemporaryDirectory() as folder:
        ensure_tokenizers(Path(folder))
        text = Text(family, folder, None)
    ids = text.tokenize(TEXTS)
    if family == "sd2":
        return [encode_sd2(ids[0], encoders[0], None)]
    projection = encoders[1].text_projection
    projection.weight = torch.nn.Parameter(projection.weight.T.contiguous(), requires_grad=False)
    *states, pooled = encode_sdxl(ids, encoders, projection, text.tokenizers[1].eos_token_id)
    return [torch.cat(states, -1), pooled]


def predicted(unet) -> torch.Tensor:
    """Call a U-Net once, on noise, at a timestep in the middle."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 4, SIDE, SIDE, generator=draw)
    states = torch.randn(1, 77, unet.config.cross_attention_dim, generator=draw)
    more = {}
    if unet.config.addition_embed_type == "text_time":
        sizes = 6 * unet.config.addition_time_embed_dim
        pooled = torch.randn(1, unet.config.projection_class_embeddings_input_dim - sizes, generator=draw)
        more = {"text_embeds": pooled, "time_ids": torch.tensor([[8.0 * SIDE, 8.0 * SIDE, 0, 0, 1024, 768]])}
    return unet(noise, torch.tensor([500]), states, added_cond_kwargs=more).sample


def decoded(vae) -> torch.Tensor:
    """Decode one small image."""
    return vae.decode(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))).sample


def theirs(
    export: Path, header: Header, objective: Objective, dtype: torch.dtype
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the same outputs of the pipeline that diffusers makes of the export, offline."""
    pipe = opened(export, header, objective, dtype)
    encoders = [name for name in ("text_encoder", "text_encoder_2") if getattr(pipe, name, None) is not None]
    for name in encoders:
        getattr(pipe, name).float()
    options = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    found = pipe.encode_prompt(TEXTS, **options)
    yield from zip(names_of(header.family), found[::2], strict=False)
    for name in encoders:
        setattr(pipe, name, None)
    gc.collect()
    yield UNET_CALL, predicted(pipe.unet.float())
    pipe.unet = None
    gc.collect()
    yield AUTOENCODER, decoded(pipe.vae.float())


def opened(export: Path, header: Header, objective: Objective, dtype: torch.dtype):
    """Return diffusers' pipeline of an export, in the dtype that it is stored in.

    Of one file with configurations of ours: the published ones would have to be fetched, and are of one size.
    """
    pipeline = getattr(diffusers, diffusers_layout.PIPELINES[header.family])
    options = {"torch_dtype": dtype, "local_files_only": True}
    if export.is_dir():
        return pipeline.from_pretrained(export, **options)
    with tempfile.TemporaryDirectory() as folder:
        diffusers_layout.write_configurations(Path(folder), header, objective)
        return pipeline.from_single_file(str(export), config=folder, **options, **encoders_of(export, header))


def encoders_of(file: Path, header: Header) -> dict[str, torch.nn.Module]:
    """Return the text encoders of one file, by diffusers' own conversions.

    `from_single_file` tells SDXL's two by their widths, which are alike in a stand-in.
    """
    stored = untrained.mapped(file)
    models = {
        name: model for name, model in diffusers_layout.empty(header).items() if name.startswith("text_encoder")
    }
    for name, model in models.items():
        if header.family == "sdxl" and name == "text_encoder":
            tensors = convert_ldm_clip_checkpoint(stored)
        else:
            tensors = convert_open_clip_checkpoint(model, stored, TE2_SDXL if header.family == "sdxl" else TE_SD2)
        wanted = model.state_dict().keys()
        fill(model, {name: tensor for name, tensor in tensors.items() if name in wanted})
    return models


@contextmanager
def quiet():
    """Let the libraries show neither bars nor what they leave out: here both are as they must be."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in (diffusers.utils.logging, transformers.utils.logging):
            library.set_verbosity_warning()
            library.enable_progress_bar()
