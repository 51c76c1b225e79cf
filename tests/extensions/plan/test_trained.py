"""Parameters of the full-size models: diffusers' and transformers' own, and the logbook's variants."""

import json
from math import prod
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from extensions.base.errors import UserError
from extensions.flags.words import Flags
from extensions.model import full_size
from extensions.plan import trained
from tests.helpers.published_unets import SD2_UNET, SDXL_UNET

VARIANTS = json.loads((Path(__file__).parents[2] / "fixtures" / "unet_percent.json").read_text())["variants"]
ON = "--learning_rate=1e-6 --train_text_encoder"


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


def models(flags):
    return {model.name: model for model in trained.models(Flags.of_text(flags))}


@pytest.mark.parametrize("which", ORACLES, ids=" ".join)
def test_counts_are_the_real_models(which):
    family, name = which
    total = sum(map(prod, full_size.shapes(family)[name].values()))
    with torch.device("meta"):
        assert total == sum(p.numel() for p in ORACLES[which]().parameters())
    assert KNOWN.get(which, total) == total


@pytest.mark.parametrize("percent", VARIANTS)
def test_the_logbooks_shares(percent):
    unet = models(f"{ON} --unet_percent={percent}")["U-Net"]
    assert unet.trainable == VARIANTS[percent]["trainable"]


def test_text_encoder_1_is_read_before_its_last_layer():
    tensors = full_size.shapes("sdxl")["text encoder 1"]
    found = trained.trained("text encoder 1", tensors, Flags.of_text(ON), "sdxl")
    with torch.device("meta"):
        real = CLIPTextModel(clip(768, 12))
    last, norm = real.text_model.encoder.layers[-1], real.text_model.final_layer_norm
    unread = {id(parameter) for module in (last, norm) for parameter in module.parameters()}
    assert tensors.keys() - found.keys() == {n for n, p in real.named_parameters() if id(p) in unread}
    assert sum(map(prod, found.values())) == 115_971_072


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (ON, ["U-Net", "text encoder 1", "text encoder 2"]),
        ("--learning_rate=1e-6", ["U-Net"]),
        ("--learning_rate=0 --train_text_encoder --learning_rate_te1=1e-5 --learning_rate_te2=0", ["text encoder 1"]),
        ("--learning_rate=0 --train_text_encoder", []),
        ("--v2 --learning_rate=1e-6 --train_text_encoder", ["U-Net", "text encoder 1"]),
        ("--v2 --learning_rate=0", ["U-Net"]),
    ],
)
def test_what_trains(flags, expected):
    assert [model.name for model in models(flags).values() if model.trains] == expected


def test_regexes_choose_as_the_plugin_does():
    kept = models(f"{ON} --unet_train=attn2")["U-Net"].trainable
    named = {key: shape for key, shape in full_size.shapes("sdxl")["U-Net"].items() if "attn2" in key}
    assert kept == sum(map(prod, named.values()))
    rest = models(f"{ON} --unet_freeze=attn2")["U-Net"]
    assert rest.trainable + kept == rest.total


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--unet_percent=0", "above 0 and up to 100"),
        ("--unet_percent=most", "is not a number"),
        ("--unet_percent=71 --v2", "names blocks of SDXL"),
        ("--learning_rate=fast", "is not a number"),
        ("--unet_train=(", "not a regular expression"),
        ("--unet_freeze=.", "leave no U-Net parameter"),
    ],
)
def test_what_makes_no_sense_is_one_line(flags, message):
    with pytest.raises(UserError, match=message):
        trained.models(Flags.of_text(flags))
