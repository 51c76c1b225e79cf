"""The pieces of the published U-Nets, against diffusers' modules on the meta device."""

from collections import Counter
from math import prod

import pytest
import torch
from diffusers import UNet2DConditionModel

from extensions.model import full_size
from extensions.model.pieces import Pass, entry, pieces, positions, text_tokens, with_shapes
from tests.helpers.published_unets import SD2_UNET, SDXL_UNET

MODULES = {
    "residual": "ResnetBlock2D",
    "transformer": "Transformer2DModel",
    "block": "BasicTransformerBlock",
    "down": "Downsample2D",
    "up": "Upsample2D",
}


@pytest.mark.parametrize(("family", "config"), [("sdxl", SDXL_UNET), ("sd2", SD2_UNET)])
def test_every_module_of_a_kind_is_a_piece(family, config):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    modules = Counter(type(module).__name__ for module in unet.modules())
    found = Counter(piece.kind for piece in pieces(full_size.shapes(family)["U-Net"]))
    assert found == {kind: modules[name] for kind, name in MODULES.items()}


def test_a_piece_has_its_own_parameters_and_no_other_s():
    shapes = full_size.shapes("sdxl")["U-Net"]
    found = dict(with_shapes(shapes))
    block = next(piece for piece in found if piece.kind == "block")
    assert (block.into, block.scale) == (640, 2) and found[block]["attn2.to_k.weight"] == (640, 2048)
    # The projections around a transformer's blocks are its own; the blocks are pieces of their own.
    assert not any(
        "transformer_blocks" in name for piece, own in found.items() if piece.kind == "block" for name in own
    )
    count = sum(prod(shape) for piece, own in found.items() if piece.kind != "transformer" for shape in own.values())
    assert 0.9 < count / sum(map(prod, shapes.values())) < 1


def test_sizes_of_a_pass():
    one = Pass(832, 1216, batch=3, tokens=78)
    assert positions(2, one) == 3 * 52 * 76 and text_tokens(one) == 154
    residual, transformer = (
        next(piece for piece in pieces(full_size.shapes("sdxl")["U-Net"]) if piece.kind == kind)
        for kind in ("residual", "transformer")
    )
    assert entry(residual, one) == 2 * 320 * 3 * 104 * 152 and entry(transformer, one) == 0
