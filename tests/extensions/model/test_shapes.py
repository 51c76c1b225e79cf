"""Layers of shapes are torch's layers; the autoencoder's are diffusers'."""

from math import prod

import pytest
import torch
from diffusers import AutoencoderKL

from extensions.model import shapes
from extensions.model.shapes_vae import vae_shapes

LAYERS = {
    "linear": (shapes.linear("a.b", 5, 3), torch.nn.Linear(3, 5)),
    "linear without bias": (shapes.linear("a.b", 5, 3, bias=False), torch.nn.Linear(3, 5, bias=False)),
    "convolution": (shapes.conv("a.b", 6, 4, 3), torch.nn.Conv2d(4, 6, 3)),
    "1x1 convolution": (shapes.conv("a.b", 6, 4, 1), torch.nn.Conv2d(4, 6, 1)),
    "group norm": (shapes.norm("a.b", 8), torch.nn.GroupNorm(2, 8)),
    "layer norm": (shapes.norm("a.b", 8), torch.nn.LayerNorm(8)),
}


@pytest.mark.parametrize(("ours", "theirs"), LAYERS.values(), ids=LAYERS)
def test_a_layer_is_torchs(ours, theirs):
    assert ours == {f"a.b.{name}": tuple(parameter.shape) for name, parameter in theirs.named_parameters()}


def test_a_prefix_stands_before_every_key():
    assert shapes.prefixed("model.", {"a.weight": (1,), "b": ()}) == {"model.a.weight": (1,), "model.b": ()}


@pytest.mark.parametrize(("base", "count"), [(128, 83_653_863), (32, None)])
def test_the_autoencoder_is_diffusers(base, count):
    blocks = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
    widths = [base * multiple for multiple in (1, 2, 4, 4)]
    with torch.device("meta"):
        real = AutoencoderKL(block_out_channels=widths, layers_per_block=2, latent_channels=4, **blocks)
    total = sum(map(prod, vae_shapes(base).values()))
    assert total == sum(parameter.numel() for parameter in real.parameters()) and count in (None, total)
