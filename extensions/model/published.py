"""Checks a checkpoint's keys, shapes and dtypes against the published model's, from the header alone.

The sizes are the file's own, as both trainers read them, so that a model of another size, a stand-in, is held against
the same layout. What a file has beyond it is refused, less what is known to be harmless and read by no trainer.
"""

import re
from collections.abc import Iterable

from extensions.base.errors import UserError
from extensions.model.checkpoint import (
    FAMILIES,
    TE1_SDXL,
    TE2_SDXL,
    TE_SD2,
    UNET,
    VAE,
    Header,
    require_family,
    shortened,
)  # fmt: skip
from extensions.model.shapes import Shapes, prefixed
from extensions.model.shapes_text import clip_shapes, open_clip_shapes
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.model.shapes_vae import vae_shapes
from extensions.model.sizes import HEAD_CHANNELS, SD2_TEXT_LAYERS

NORM_GROUPS = 32  # of the U-Net's and the autoencoder's norms: their channels come in multiples
SIZE_EMBEDDINGS = 6 * 256  # of SDXL's vector, after the pooled text
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
EXAMPLES = 3  # tensors named in a line, of however many
# What neither trainer reads, by what a person calls it.
HARMLESS = {
    "EMA copies": r"(model_|unet_)?ema\..*|first_stage_model\.model_ema\..*",
    "position ids": r".*\.embeddings\.position_ids|.*\.attn_mask",
    "the noise schedule": r"denoiser\..*|betas|(sqrt_|log_)?(one_minus_|recip_|recipm1_)?alphas_cumprod(_prev)?|"
    r"posterior_\w+|logvar|lvlb_weights|scale_factor",
    "marks of the prediction": r"v_pred|ztsnr|edm_\w+(\.\w+)?",
    "training's leftovers": r"first_stage_model\.loss\..*|loss_fn\..*|global_step|epoch",
}


def check(header: Header, family: str) -> list[str]:
    """Return what harmless extras the file has. UserError for a file that is not the whole model and nothing else."""
    require_family(header, family)
    required, optional = layout(header, family)
    faults = _missing(header, required) + _misshaped(header, required | optional) + _dtypes(header, required)
    extras = [name for name in header.shapes if name not in required and name not in optional]
    strangers = [name for name in extras if kind_of(name) is None]
    if strangers:
        faults.append(f"{len(strangers):,} too many ({_some(strangers)})")
    if faults:
        raise UserError(
            f"{header.path} is not {FAMILIES[family]} as published: of its tensors {'; '.join(faults)}; "
            "get it again, or give another base model"
        )
    return _said(extras)


def check_vae(header: Header, prefix: str = VAE) -> None:
    """Raise UserError unless the file has the whole autoencoder, under `prefix`, whatever else it has."""
    required = prefixed(prefix, vae_shapes(_multiple(header, prefix + "encoder.conv_in.weight", 4, 0, NORM_GROUPS)))
    faults = _missing(header, required) + _misshaped(header, required) + _dtypes(header, required)
    if faults:
        raise UserError(f"{header.path} holds no whole autoencoder: of its tensors {'; '.join(faults)}; get it again")


def layout(header: Header, family: str) -> tuple[Shapes, Shapes]:
    """Return the tensors that a model of the file's sizes has: those it must have, and those it may leave out."""
    return _sdxl(header) if family == "sdxl" else _sd2(header)


def _sdxl(header: Header) -> tuple[Shapes, Shapes]:
    channels = _multiple(header, UNET + "time_embed.0.weight", 2, 1, NORM_GROUPS)
    depths = [header.layers(f"{UNET}input_blocks.{block}.1.transformer_blocks.") for block in (4, 7)]
    context = _axis(header, UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", 2, 1)
    vector = _axis(header, UNET + "label_emb.0.0.weight", 2, 1)
    first = _multiple(header, TE1_SDXL + "embeddings.token_embedding.weight", 2, 1, 1)
    second = _multiple(header, TE2_SDXL + "token_embedding.weight", 2, 1, 1)
    projection = _axis(header, TE2_SDXL + "text_projection", 2, 1)
    _equal(header, "the U-Net attends to", context, "its text encoders give", first + second)
    _equal(header, "the U-Net's vector has", vector, "pooled text and sizes have", projection + SIZE_EMBEDDINGS)
    size = UNetSize(channels, (1, 2, 4), (0, *depths), depths[1], context, vector)
    layers = header.layers(TE1_SDXL + "encoder.layers."), header.layers(TE2_SDXL + "transformer.resblocks.")
    second_shapes = open_clip_shapes(second, layers[1], projection)
    scale = {"logit_scale": second_shapes.pop("logit_scale")}
    required = {
        **prefixed(UNET, unet_shapes(size)),
        **prefixed(TE1_SDXL.removesuffix("text_model."), clip_shapes(first, layers[0])),
        **prefixed(TE2_SDXL, second_shapes),
        **prefixed(VAE, vae_shapes(_multiple(header, VAE + "encoder.conv_in.weight", 4, 0, NORM_GROUPS))),
    }
    return required, prefixed(TE2_SDXL, scale)


def _sd2(header: Header) -> tuple[Shapes, Shapes]:
    """What no trainer loads, the 24th layer and the projection, may be missing."""
    channels = _multiple(header, UNET + "input_blocks.0.0.weight", 4, 0, HEAD_CHANNELS)
    context = _axis(header, UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 2, 1)
    width = _multiple(header, TE_SD2 + "token_embedding.weight", 2, 1, 1)
    _equal(header, "the U-Net attends to", context, "its text encoder gives", width)
    size = UNetSize(channels, (1, 2, 4, 4), (1, 1, 1, 0), 1, context)
    last = f"transformer.resblocks.{SD2_TEXT_LAYERS}."
    has_projection = TE_SD2 + "text_projection" in header.shapes
    projection = _axis(header, TE_SD2 + "text_projection", 2, 1) if has_projection else width
    text = open_clip_shapes(width, SD2_TEXT_LAYERS + 1, projection)
    unloaded = (last, "text_projection", "logit_scale")
    unread = {name: shape for name, shape in text.items() if name.startswith(unloaded)}
    required = {
        **prefixed(UNET, unet_shapes(size)),
        **prefixed(TE_SD2, {name: shape for name, shape in text.items() if name not in unread}),
        **prefixed(VAE, vae_shapes(_multiple(header, VAE + "encoder.conv_in.weight", 4, 0, NORM_GROUPS))),
    }
    return required, prefixed(TE_SD2, unread)


def _axis(header: Header, name: str, rank: int, axis: int) -> int:
    shape = header.shape(name)
    if len(shape) != rank or 0 in shape:
        raise UserError(f"{header.path}: tensor {name} has the shape {shape}, which no published model has")
    return shape[axis]


def _multiple(header: Header, name: str, rank: int, axis: int, of: int) -> int:
    """Return a width that models can be built with: of whole norm groups, or of whole attention heads."""
    width = _axis(header, name, rank, axis)
    if width % of or width % max(1, width // HEAD_CHANNELS):
        raise UserError(f"{header.path}: tensor {name} says {width} channels, of which no model can be built")
    return width


def _equal(header: Header, one: str, has: int, other: str, gives: int) -> None:
    if has != gives:
        raise UserError(f"{header.path} does not fit together: {one} {has} channels, {other} {gives}; get it again")


def _missing(header: Header, required: Shapes) -> list[str]:
    names = [name for name in required if name not in header.shapes]
    return [f"{len(names):,} of {len(required):,} are missing ({_some(names)})"] if names else []


def _misshaped(header: Header, known: Shapes) -> list[str]:
    names = [
        name for name, shape in known.items() if name in header.shapes and not _fits(name, header.shapes[name], shape)
    ]
    if not names:
        return []
    shapes = (f"{name} {header.shapes[name]} instead of {known[name]}" for name in names[:EXAMPLES])
    return [f"{len(names):,} have another shape ({_some(shapes, len(names))})"]


def _fits(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Tell whether a loader takes this shape: of the autoencoder's attention it takes matrices for 1 x 1 kernels."""
    if ".attn_1." in name and len(found) == 2:
        return found == wanted[:2]
    return found == wanted or (name.endswith("logit_scale") and found == (1,))


def _dtypes(header: Header, required: Shapes) -> list[str]:
    """A matrix of integers would be trained in one trainer and break the other."""
    names = [name for name in required if header.dtypes.get(name, "F32") not in FLOATS]
    if not names:
        return []
    kinds = ", ".join(sorted({header.dtypes[name] for name in names}))
    return [f"{len(names):,} are no floating-point numbers but {kinds} ({_some(names)})"]


def kind_of(name: str) -> str | None:
    """Return what a harmless extra is, None for a tensor that is none."""
    return next((kind for kind, pattern in HARMLESS.items() if re.fullmatch(pattern, name)), None)


def _said(extras: list[str]) -> list[str]:
    """Return the extras by kind. Not worth a line: position ids, which most files have, and marks, which are read."""
    kinds = [kind_of(name) for name in extras]
    told = [kind for kind in HARMLESS if kind in kinds and kind not in ("position ids", "marks of the prediction")]
    return [f"{kind} ({kinds.count(kind):,} tensors)" for kind in told]


def _some(names: Iterable[str], count: int | None = None) -> str:
    names = list(names)
    count = count or len(names)
    return ", ".join(shortened(name) for name in names[:EXAMPLES]) + (", …" if count > EXAMPLES else "")
