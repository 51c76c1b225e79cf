"""The full-size models: counts and shapes are diffusers' and transformers' own, names those of the files."""

from math import prod

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from extensions.model import full_size
from tests.helpers.published_unets import SD2_UNET, SDXL_UNET


def clip(width, layers, **other):
    return CLIPTextConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=width // 64,
        vocab_size=49408, projection_dim=width, **other,
    )  # fmt: skip


ORACLES = {
    ("sdxl", "U-Net"): lambda: UNet2DConditionModel(**SDXL_UNET),
    ("sdxl", "text encoder 1"): lambda: CLIPTextModel(clip(768, 12)),
    ("sdxl", "text encoder 2"): lambda: CLIPTextModelWithProjection(clip(1280, 32)),
    ("sd2", "U-Net"): lambda: UNet2DConditionModel(**SD2_UNET),
    ("sd2", "text encoder 1"): lambda: CLIPTextModel(clip(1024, 23)),
}
KNOWN = {
    ("sdxl", "U-Net"): 2_567_463_684,
    ("sdxl", "text encoder 1"): 123_060_480,
    ("sdxl", "text encoder 2"): 694_659_840,
    ("sd2", "U-Net"): 865_910_724,
}


@pytest.mark.parametrize("which", ORACLES, ids=" ".join)
def test_counts_and_shapes_are_the_real_models(which):
    """open_clip joins query, key and value; apart from that every tensor has the shape of one of the library's."""
    family, name = which
    ours = full_size.shapes(family)[name]
    with torch.device("meta"):
        theirs = dict(ORACLES[which]().named_parameters())
    assert sum(map(prod, ours.values())) == sum(parameter.numel() for parameter in theirs.values())
    others = set(ours.values()) - {tuple(parameter.shape) for parameter in theirs.values()}
    assert all(shape[0] % 3 == 0 for shape in others) and (name != "U-Net" or not others)


@pytest.mark.parametrize("which", KNOWN, ids=" ".join)
def test_counts_are_the_published_ones(which):
    family, name = which
    assert sum(map(prod, full_size.shapes(family)[name].values())) == KNOWN[which]


@pytest.mark.upstream
@pytest.mark.parametrize("name", ["U-Net", "text encoder 1"])
def test_names_are_those_that_the_trainer_s_model_has(name, patched):
    """The planner freezes by name, as the plugin does in a run."""
    from library import sdxl_original_unet

    with torch.device("meta"):
        real = sdxl_original_unet.SdxlUNet2DConditionModel() if name == "U-Net" else ORACLES["sdxl", name]()
    expected = {key: tuple(parameter.shape) for key, parameter in real.named_parameters()}
    assert full_size.shapes("sdxl")[name] == expected


def test_a_family_is_asked_once():
    assert full_size.shapes("sd2") is full_size.shapes("sd2")
    assert list(full_size.shapes("sdxl")) == ["U-Net", "text encoder 1", "text encoder 2"]
    assert list(full_size.shapes("sd2")) == ["U-Net", "text encoder 1"]
