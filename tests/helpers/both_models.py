"""The stand-ins' models of either trainer, and one update of them without a trainer."""

import inspect

import torch

from extensions.model.checkpoint import read_header
from extensions.model.models import Models
from extensions.model.unet_names import ldm_of_diffusers

SIDE = 8  # latents


def models_of(trainer: str, family: str, path: str) -> Models:
    """Models of a stand-in in float32, ready to train."""
    made = reference(family, path) if trainer == "reference" else upstream(family, path)
    for model in made.named().values():
        model.float().train().requires_grad_(True)
    if family == "sdxl":  # upstream's: its last layer is never read
        inner = made.text_encoders[0].text_model
        inner.encoder.layers[-1].requires_grad_(False)
        inner.final_layer_norm.requires_grad_(False)
    return made


def reference(family: str, path: str) -> Models:
    from extensions.reference import models

    return models.load(path, family, torch.float32).models


def upstream(family: str, path: str) -> Models:
    from library import model_util, sdxl_model_util

    from extensions.upstream import shapes

    header = read_header(path)
    if family == "sdxl":
        with shapes.sized_for_sdxl(header):
            load = inspect.unwrap(sdxl_model_util.load_models_from_sdxl_checkpoint)
            first, second, _, unet, *_ = load("sdxl", path, "cpu")
        return Models("sdxl", unet, [first, second])
    with shapes.sized_for_sd2(header):
        load = inspect.unwrap(model_util.load_models_from_stable_diffusion_checkpoint)
        encoder, _, unet = load(True, path, unet_use_linear_projection_in_v2=False)
    return Models("sd2", unet, [encoder], None, ldm_of_diffusers(header.shapes))


def predicted(models: Models, encoders: list, unet, seed: int) -> torch.Tensor:
    """The U-Net's answer (1, 4, 8, 8) to noise, attending to what the encoders make of 77 tokens.

    encoders, unet: as they are to be called, which may be DDP's wrappers.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 1000, (1, 77), generator=generator)
    states = [each(ids, output_hidden_states=True).hidden_states[-2] for each in encoders]
    context = torch.cat(states, 2)
    dtype = next(models.unet.parameters()).dtype
    noisy, time = torch.randn(1, 4, SIDE, SIDE, generator=generator).to(dtype), torch.tensor([500])
    if models.family == "sd2":
        return unet(noisy, time, context).sample
    weight = models.unet_parameters()["label_emb.0.0.weight"]
    if hasattr(models.unet, "label_emb"):
        return unet(noisy, time, context, torch.randn(1, weight.shape[1], generator=generator).to(dtype))
    pooled = torch.randn(1, weight.shape[1] - 6 * models.unet.config.addition_time_embed_dim, generator=generator)
    added = {"text_embeds": pooled.to(dtype), "time_ids": torch.ones(1, 6)}
    return unet(noisy, time, encoder_hidden_states=context, added_cond_kwargs=added).sample
