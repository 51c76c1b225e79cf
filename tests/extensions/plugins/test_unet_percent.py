"""The frozen blocks of the logbook's variants, counted on the full-size U-Net (meta device)."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.model.models import Models
from extensions.model.unet_blocks import block_sizes, choose_frozen
from extensions.plugins import unet_percent

FACTS = json.loads((Path(__file__).parents[2] / "fixtures" / "unet_percent.json").read_text())


@pytest.fixture(scope="module")
def full_size(patched):
    """The full-size SDXL U-Net of upstream without memory."""
    from library import sdxl_original_unet

    with torch.device("meta"):
        return sdxl_original_unet.SdxlUNet2DConditionModel()


def sizes_of(unet):
    return {name: parameter.numel() for name, parameter in unet.named_parameters()}


@pytest.mark.upstream
@pytest.mark.parametrize("percent", ["63", "68", "71", "100"])
def test_variants_are_the_recorded_ones(full_size, percent):
    sizes, facts = sizes_of(full_size), FACTS["variants"][percent]
    frozen = choose_frozen(sizes, float(percent), "sdxl")
    assert sorted(frozen) == sorted(facts["frozen"])
    gone = sum(n for name, n in sizes.items() if name.startswith(tuple(f"{b}." for b in frozen)))
    assert sum(sizes.values()) == FACTS["unet_parameters"]
    assert sum(sizes.values()) - gone == facts["trainable"]


@pytest.mark.upstream
@settings(max_examples=40)
@given(percent=st.floats(5, 99.9))
def test_any_number_is_met_by_whole_blocks(full_size, percent):
    sizes = sizes_of(full_size)
    frozen = choose_frozen(sizes, percent + 1e-3, "sdxl")
    assert frozen == choose_frozen(sizes, percent + 1e-3, "sdxl")
    blocks = block_sizes(sizes)
    share = 100 * (1 - sum(blocks[name] for name in frozen) / sum(sizes.values()))
    # The embeddings and outer convolutions always train; their share is the least that can be had.
    least = 100 * (1 - sum(blocks.values()) / sum(sizes.values()))
    assert abs(share - max(percent, least)) < 0.3


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.time_embed = torch.nn.Linear(2, 2)
        self.input_blocks = torch.nn.ModuleList(
            [torch.nn.ModuleList([torch.nn.Linear(2, 2)]), torch.nn.ModuleList([torch.nn.Linear(2, 2)])]
        )


def freeze(**flags):
    plugin, net = unet_percent.Plugin(), Net()
    args = {
        "unet_percent": None,
        "unet_train": None,
        "unet_freeze": None,
        "learning_rate": 1.0,
        "block_lr": None,
    }
    plugin.check_arguments(args=argparse.Namespace(**args | flags))
    plugin.select_parameters(models=Models("sdxl", net), groups=[])
    return {name for name, p in net.named_parameters() if not p.requires_grad}


def test_regexes():
    assert freeze(unet_freeze=unet_percent.regex(r"\.bias$")) == {
        "time_embed.bias", "input_blocks.0.0.bias", "input_blocks.1.0.bias",
    }  # fmt: skip
    assert "input_blocks.1.0.weight" not in freeze(unet_train=unet_percent.regex("^input_blocks.1"))


@pytest.mark.upstream
def test_checkpointed_blocks_before_the_first_trained_one_get_gradients(patched, standins):
    """Only the cross-attention trains, text encoders do not: the case that reentrant checkpointing drops."""
    from library import sdxl_original_unet

    from extensions.model.checkpoint import read_header
    from extensions.upstream import shapes

    with shapes.sized_for_sdxl(read_header(standins["sdxl"])):
        unet = sdxl_original_unet.SdxlUNet2DConditionModel()
    unet.enable_gradient_checkpointing()
    unet.train()
    plugin = unet_percent.Plugin()
    plugin.check_arguments(
        args=argparse.Namespace(
            unet_percent=None, unet_train=unet_percent.regex("attn2"), unet_freeze=None, learning_rate=1.0,
            block_lr=None, gradient_checkpointing=True,
        )
    )  # fmt: skip
    plugin.select_parameters(models=Models("sdxl", unet), groups=[])
    out = unet(torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 77, 128), torch.randn(1, 1600))
    out.square().mean().backward()
    trained = {name: p for name, p in unet.named_parameters() if p.requires_grad}
    assert trained and all("attn2" in name for name in trained)
    assert [name for name, p in trained.items() if p.grad is None] == []


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"unet_percent": 71.0, "unet_train": unet_percent.regex("x")},
        {"unet_percent": 71.0, "learning_rate": 0},
        {"unet_percent": 71.0, "block_lr": "1"},
        {"unet_train": unet_percent.regex("no such")},
        {"unet_freeze": unet_percent.regex(".")},
        {"unet_percent": 71.0},  # this net is no SDXL
    ],
)
def test_bad_choices_are_one_line(flags):
    with pytest.raises(UserError) as error:
        freeze(**flags)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["0", "101", "abc", "-3", "nan"])
def test_percent_is_a_percentage(text):
    with pytest.raises(argparse.ArgumentTypeError):
        unet_percent.percent(text)
