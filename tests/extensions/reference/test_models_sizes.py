"""Full-size checkpoints give upstream's own configurations; everything is on the meta device."""

import math

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from extensions.model.checkpoint import UNET, Header
from extensions.reference import models

pytestmark = pytest.mark.upstream
CONFIGS = {"sdxl": models.sdxl_unet_config, "sd2": models.sd2_unet_config}


def full_size(tensors) -> Header:
    return Header("full", {name: tuple(tensor.shape) for name, tensor in tensors.items()}, {})


def unet_of(header: Header, family: str) -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(**CONFIGS[family](header))


def test_full_size_sdxl_has_upstreams_configuration(full_sdxl):
    from library import sdxl_model_util

    unet = unet_of(full_size(full_sdxl), "sdxl")
    expected = sdxl_model_util.DIFFUSERS_SDXL_UNET_CONFIG
    assert {name: plain(unet.config[name]) for name in expected} == {n: plain(v) for n, v in expected.items()}
    assert sum(parameter.numel() for parameter in unet.parameters()) == 2_567_463_684


def test_full_size_sd2_has_upstreams_configuration(full_sd2):
    from library import model_util

    header = full_size(full_sd2)
    unet = unet_of(header, "sd2")
    expected = model_util.create_unet_diffusers_config(True, True)
    expected["sample_size"] = 96  # the 768 model's; no weight depends on it
    assert {name: plain(unet.config[name]) for name in expected} == {n: plain(v) for n, v in expected.items()}
    in_file = sum(math.prod(shape) for name, shape in header.shapes.items() if name.startswith(UNET))
    assert sum(parameter.numel() for parameter in unet.parameters()) == in_file == 865_910_724


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def test_full_size_autoencoder_has_upstreams_configuration(full_sd2):
    from library import model_util

    with torch.device("meta"):
        ours = AutoencoderKL(**models.vae_config(full_size(full_sd2)))
        expected = AutoencoderKL(**model_util.create_vae_diffusers_config())
    shapes = [{name: tuple(p.shape) for name, p in model.named_parameters()} for model in (ours, expected)]
    assert shapes[0] == shapes[1]
