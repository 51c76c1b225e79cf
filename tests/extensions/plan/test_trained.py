"""Which parameters of the full-size models train: the logbook's variants, upstream's rules, the plugin's regexes."""

import json
from math import prod
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from extensions.base.errors import UserError
from extensions.flags import settings
from extensions.flags.words import Flags
from extensions.model import full_size
from extensions.plan import trained

VARIANTS = json.loads((Path(__file__).parents[2] / "fixtures" / "unet_percent.json").read_text())["variants"]
FIRST_ENCODER = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, vocab_size=49408)
ON = "--learning_rate=1e-6 --train_text_encoder"


def of(flags):
    return settings.of_words(Flags.of_text(flags))


def models(flags):
    return {model.name: model for model in trained.models(of(flags))}


@pytest.mark.parametrize("percent", VARIANTS)
def test_the_logbooks_shares(percent):
    unet = models(f"{ON} --unet_percent={percent}")["U-Net"]
    assert unet.trainable == VARIANTS[percent]["trainable"]


def test_text_encoder_1_is_read_before_its_last_layer():
    tensors = full_size.shapes("sdxl")["text encoder 1"]
    found = trained.trained("text encoder 1", tensors, of(ON))
    with torch.device("meta"):
        real = CLIPTextModel(FIRST_ENCODER)
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
        ("--unet_percent=0", "--unet_percent=0 is not a percentage above 0 and up to 100"),
        ("--unet_percent=most", "is not a number"),
        ("--unet_percent=71 --v2", "names blocks of SDXL"),
        ("--learning_rate=fast", "is not a number"),
        ("--learning_rate=0 --train_text_encoder", "nothing to train"),
        ("--unet_train=(", "not a regular expression"),
        ("--unet_freeze=.", "leave no U-Net parameter"),
    ],
)
def test_what_makes_no_sense_is_one_line(flags, message):
    with pytest.raises(UserError, match=message):
        trained.models(of(flags))
