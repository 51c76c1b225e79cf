"""Builds models of whatever size the checkpoint has, on diffusers' U-Net and transformers' CLIP."""

from dataclasses import dataclass, field

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from extensions.model import published, text_names, untrained
from extensions.model.checkpoint import TE1_SDXL, TE2_SDXL, TE_SD2, UNET, VAE, Header, read_header
from extensions.model.models import Models
from extensions.model.sizes import HEAD_CHANNELS, SD2_TEXT_LAYERS, clip_huggingface, clip_open, vae_config
from extensions.model.unet_names import ldm_of_diffusers

# All three encoders; the token ids only matter to transformers' own pooling, which nothing here uses.
CLIP = {"max_position_embeddings": 77, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
TE1_PREFIX = TE1_SDXL.removesuffix("text_model.")


@dataclass
class Loaded:
    """The models, and the tensors of the checkpoint that are saved again as they are.

    carried: {name in the file: tensor}; the tensors are views of the mapped file and take no memory until
    they are read. They outlive a deleted file, so that a save after weeks does not need the base model.
    base: the same of the whole file.
    """

    models: Models
    carried: dict[str, torch.Tensor]
    base: dict[str, torch.Tensor] = field(default_factory=dict)


def load(path: str, family: str, unet_dtype: torch.dtype) -> Loaded:
    """Return the models of a single-file checkpoint, text encoders in float32. UserError for what is not one."""
    header = read_header(path)
    published.check(header, family)
    base = untrained.mapped(path)
    loaded = (sdxl if family == "sdxl" else sd2)(header, base.__getitem__, unet_dtype)
    loaded.base = base
    return loaded


def sdxl(header: Header, read, unet_dtype: torch.dtype) -> Loaded:
    """U-Net, CLIP ViT-L and OpenCLIP ViT-bigG."""
    with init_empty_weights():
        unet = UNet2DConditionModel(**sdxl_unet_config(header))
    names = ldm_of_diffusers(header.shapes)
    fill(unet, {name: read(UNET + ldm) for name, ldm in names.items()}, unet_dtype)
    encoders = sdxl_encoders(header, read)
    carried = [name for name in header.shapes if name.startswith(VAE) or name == TE2_SDXL + "logit_scale"]
    return Loaded(Models("sdxl", unet, encoders, None, names), {name: read(name) for name in carried})


def sdxl_encoders(header: Header, read) -> list:
    """CLIP ViT-L and OpenCLIP ViT-bigG, in float32."""
    with init_empty_weights():
        first = CLIPTextModel(CLIPTextConfig(hidden_act="quick_gelu", **CLIP, **clip_huggingface(header, TE1_SDXL)))
        config = CLIPTextConfig(hidden_act="gelu", **CLIP, **clip_open(header, TE2_SDXL))
        second = CLIPTextModelWithProjection(config)
    fill(first, {name: read(TE1_PREFIX + name) for name in dict(first.named_parameters())}, torch.float32)
    parameters = dict(second.named_parameters())
    fill(second, text_names.from_open_clip(parameters, lambda name: read(TE2_SDXL + name)), torch.float32)
    return [first, second]


def sd2(header: Header, read, unet_dtype: torch.dtype) -> Loaded:
    """U-Net and the first 23 of OpenCLIP ViT-H's 24 layers.

    They are initialised before they are filled, and an autoencoder beside them is thrown away, because
    upstream does so after the seed is set: its loader draws from the random stream that later shuffles the
    data and makes the noise. An accident, but without it the two trainers would see other noise. (For SDXL
    upstream builds empty models, which draw nothing.)
    """
    unet = UNet2DConditionModel(**sd2_unet_config(header))
    AutoencoderKL(**vae_config(header))
    sizes = clip_open(header, TE_SD2) | {"num_hidden_layers": SD2_TEXT_LAYERS}
    encoder = CLIPTextModel(CLIPTextConfig(hidden_act="gelu", **CLIP, **sizes))
    names = ldm_of_diffusers(header.shapes)
    fill(unet, {name: read(UNET + ldm) for name, ldm in names.items()}, unet_dtype)
    parameters = dict(encoder.named_parameters())
    fill(encoder, text_names.from_open_clip(parameters, lambda name: read(TE_SD2 + name)), torch.float32)
    trained = {TE_SD2 + text_names.open_clip_name(name)[0] for name in parameters}
    carried = [name for name in header.shapes if not name.startswith(UNET) and name not in trained]
    return Loaded(Models("sd2", unet, [encoder], None, names), {name: read(name) for name in carried})


def fill(model: torch.nn.Module, tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    """Give a model its weights, as tensors of their own (the file's are mapped, and would be written to)."""
    model.load_state_dict({name: tensor.to(dtype, copy=True) for name, tensor in tensors.items()}, assign=True)


def sdxl_unet_config(header: Header) -> dict:
    """diffusers' configuration of an SDXL U-Net of the checkpoint's size."""
    channels = header.shape(UNET + "time_embed.0.weight")[1]
    levels = [channels * multiple for multiple in (1, 2, 4)]
    depths = [header.layers(f"{UNET}input_blocks.{block}.1.transformer_blocks.") for block in (4, 7)]
    return {
        "sample_size": 128,
        "block_out_channels": levels,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, *depths],
        "attention_head_dim": heads(levels),
        "cross_attention_dim": context(header, "input_blocks.4.1"),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": header.shape(UNET + "label_emb.0.0.weight")[1],
    }


def sd2_unet_config(header: Header) -> dict:
    """diffusers' configuration of an SD2 U-Net of the checkpoint's size."""
    channels = header.shape(UNET + "input_blocks.0.0.weight")[0]
    levels = [channels * multiple for multiple in (1, 2, 4, 4)]
    return {
        "sample_size": 96,
        "block_out_channels": levels,
        "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
        "attention_head_dim": heads(levels),
        "cross_attention_dim": context(header, "input_blocks.1.1"),
        "use_linear_projection": True,
    }


def heads(levels: list[int]) -> list[int]:
    """Attention heads a level (diffusers calls the number `attention_head_dim`)."""
    return [max(1, width // HEAD_CHANNELS) for width in levels]


def context(header: Header, block: str) -> int:
    """Width of the text states that the U-Net attends to."""
    return header.shape(f"{UNET}{block}.transformer_blocks.0.attn2.to_k.weight")[1]
