"""One set of U-Net names for both trainers: every parameter has one, in the order of the original U-Net."""

import pytest

from extensions.model.checkpoint import UNET, read_header
from extensions.model.unet_blocks import block_sizes, choose_frozen
from extensions.model.unet_names import ldm_of_diffusers, position
from extensions.reference import models


@pytest.fixture(params=["sdxl", "sd2"])
def header(request, standins):
    return read_header(standins[request.param])


def test_every_parameter_of_diffusers_has_one_name_in_the_file(header):
    import torch
    from diffusers import UNet2DConditionModel

    config = {"sdxl": models.sdxl_unet_config, "sd2": models.sd2_unet_config}[header.family](header)
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in UNet2DConditionModel(**config).named_parameters()}
    names = ldm_of_diffusers(header.shapes)
    assert {name: header.shapes[UNET + ldm] for name, ldm in names.items()} == shapes
    assert sorted(names.values()) == sorted(n.removeprefix(UNET) for n in header.shapes if n.startswith(UNET))


def test_the_order_is_a_samples_way_through_the_unet(header):
    names = list(ldm_of_diffusers(header.shapes).values())
    assert names == sorted(names, key=position)
    deep = {"sdxl": 8, "sd2": 10}[header.family]
    blocks = ("time_embed.0", "input_blocks.2.0", f"input_blocks.{deep}.0", "middle_block.0", "output_blocks.0.0")
    places = [next(i for i, name in enumerate(names) if name.startswith(f"{block}.")) for block in blocks]
    assert places == sorted(places)


@pytest.mark.upstream
@pytest.mark.parametrize("percent", [71, 50.5, 83.2])
def test_a_percentage_freezes_the_same_blocks_in_both_trainers(patched, standins, percent):
    from extensions.upstream import shapes

    header = read_header(standins["sdxl"])
    with shapes.sized_for_sdxl(header):
        from library import sdxl_original_unet

        upstream = sdxl_original_unet.SdxlUNet2DConditionModel()
    theirs = {name: parameter.numel() for name, parameter in upstream.named_parameters()}
    loaded = models.load(str(standins["sdxl"]), "sdxl", models.torch.float32).models
    ours = {name: parameter.numel() for name, parameter in loaded.unet_parameters().items()}
    assert list(block_sizes(ours).items()) == list(block_sizes(theirs).items())
    assert choose_frozen(ours, percent, "sdxl") == choose_frozen(theirs, percent, "sdxl") != []
