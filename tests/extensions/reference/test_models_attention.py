"""Every way to compute attention gives one result: plain, memory-efficient, PyTorch's, xformers'.

sd-scripts is held against its own plain attention; the reference trainer, which has PyTorch's for every flag but
--xformers, against diffusers' plain one.
"""

import argparse
import copy
import importlib.util

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from extensions.reference import engine

ENCODERS = {"sdxl": 2, "sd2": 1}
xformers = pytest.mark.skipif(
    importlib.util.find_spec("xformers") is None or not torch.cuda.is_available(),
    reason="xformers computes on GPUs only; without it --xformers becomes --sdpa",
)
WAYS = ["mem_eff_attn", "sdpa", pytest.param("xformers", marks=xformers)]
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]


def inputs(config):
    """The same each time: noisy latents (1, 4, 16, 24), the text's states (1, 154, width), SDXL's vector or None."""
    generator = torch.Generator().manual_seed(3)
    noisy = torch.randn(1, 4, 16, 24, generator=generator)
    states = torch.randn(1, 154, config.cross_attention_dim, generator=generator).requires_grad_()
    width = config.projection_class_embeddings_input_dim
    return noisy, states, torch.randn(1, width, generator=generator) if width else None


def answer(trainer: str, unet, config):
    """(prediction (1, 4, 16, 24), gradient of its mean square by the text's states) for fixed inputs."""
    noisy, states, vector = inputs(config)
    if trainer == "reference":
        if vector is not None:  # diffusers makes the vector of these two; 6 sizes of 256 values each
            vector = {"text_embeds": vector[:, : -6 * 256], "time_ids": torch.full((1, 6), 256.0)}
        predicted = unet(noisy, torch.tensor([500]), states, added_cond_kwargs=vector).sample
    else:
        predicted = unet(noisy, torch.tensor([500]), states, *([] if vector is None else [vector]))
        predicted = predicted if vector is not None else predicted.sample
    predicted.square().mean().backward()
    return predicted.detach(), states.grad


def plain(trainer: str, family: str, request):
    """A U-Net of that trainer that computes softmax(QK)V as it is written."""
    if trainer == "sd-scripts":
        return copy.deepcopy(request.getfixturevalue("upstreams")[family][ENCODERS[family] + 1]).requires_grad_(True)
    unet = copy.deepcopy(request.getfixturevalue("loaded")[family].models.unet).requires_grad_(True)
    unet.set_attn_processor(AttnProcessor())
    return unet


def with_flag(trainer: str, family: str, way: str, request):
    """The same U-Net as its trainer has it under --<way>."""
    if trainer == "sd-scripts":
        unet = plain(trainer, family, request)
        from library import train_util

        train_util.replace_unet_modules(unet, way == "mem_eff_attn", way == "xformers", way == "sdpa")
        return unet
    unet = copy.deepcopy(request.getfixturevalue("loaded")[family].models.unet).requires_grad_(True)
    engine.attention(argparse.Namespace(xformers=way == "xformers"), unet)
    assert not any(isinstance(each, AttnProcessor) for each in unet.attn_processors.values())
    assert way == "xformers" or {type(each) for each in unet.attn_processors.values()} == {AttnProcessor2_0}
    return unet


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["sdxl", "sd2"])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_same_prediction_and_gradient(trainer, family, way, request, loaded):
    config = loaded[family].models.unet.config
    wanted = answer(trainer, plain(trainer, family, request), config)
    found = answer(trainer, with_flag(trainer, family, way, request), config)
    for ours, expected in zip(found, wanted, strict=True):
        assert (ours - expected).norm() <= 1e-5 * expected.norm()
        assert expected.norm() > 0
