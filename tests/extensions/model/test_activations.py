"""Activations against what torch saves for the backward pass of diffusers' full-size U-Net, on the meta device."""

import pytest
import torch
import torch.utils.checkpoint
from diffusers import UNet2DConditionModel

from extensions.model import activations, full_size, recomputation
from extensions.model.pieces import Pass, pieces
from extensions.plan import vram
from tests.helpers.published_unets import SD2_UNET, SDXL_UNET

FAMILIES = {"sdxl": (SDXL_UNET, 1024, 2048), "sd2": (SD2_UNET, 768, 1024)}
TOKENS = 231
real_checkpoint = torch.utils.checkpoint.checkpoint


def saved_bytes(family, checkpointing):
    """Bytes of every storage that is saved for the backward pass, weights left out."""
    config, side, context = FAMILIES[family]
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config).train()
        sample, text = torch.empty(1, 4, side // 8, side // 8), torch.empty(1, TOKENS, context, requires_grad=True)
        sizes = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
        if checkpointing:
            unet.enable_gradient_checkpointing()
        seen = {parameter.untyped_storage()._cdata: 0 for parameter in unet.parameters()}
        alive = []

        def pack(tensor):
            storage = tensor.untyped_storage()
            seen.setdefault(storage._cdata, storage.nbytes())
            alive.append(storage)  # or its address would be used again
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            unet(sample, torch.tensor([500]), text, added_cond_kwargs=sizes)
    return sum(seen.values())


def counted(family, checkpointing, efficient):
    """The same from our counts, in fp32 as the meta model is."""
    shapes, side = full_size.shapes(family)["U-Net"], FAMILIES[family][1]
    one = Pass(side, side, tokens=TOKENS, number=4, checkpointing=checkpointing, efficient_attention=efficient)
    return activations.after_forward(shapes, one)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_checkpointing_every_piece_is_kept(family):
    # On the meta device attention is torch's plain one, which keeps its scores.
    assert counted(family, False, efficient=False) == pytest.approx(saved_bytes(family, False), rel=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_checkpointing_the_inputs_are_kept(family, monkeypatch):
    def reentrant(function, *args, **_):
        """Upstream's mode; it keeps its inputs where the hooks can see them."""
        return real_checkpoint(function, *args, use_reentrant=True, preserve_rng_state=False)

    monkeypatch.setattr(torch.utils.checkpoint, "checkpoint", reentrant)
    # diffusers does not checkpoint up-sampling, and so keeps its inputs in the larger size.
    ups = [piece for piece in pieces(full_size.shapes(family)["U-Net"]) if piece.kind == "up"]
    side = FAMILIES[family][1]
    more = sum(3 * 4 * up.into * (side // 8 // up.scale) ** 2 for up in ups)
    assert counted(family, True, efficient=True) + more == pytest.approx(saved_bytes(family, True), rel=0.03)


def test_grows_with_the_batch_and_the_area_and_scores_with_the_square():
    shapes = full_size.shapes("sdxl")["U-Net"]
    one = activations.bytes_of(shapes, Pass(1024, 1024))
    assert activations.bytes_of(shapes, Pass(1024, 1024, batch=3)) == pytest.approx(3 * one)
    assert activations.bytes_of(shapes, Pass(512, 1024)) == pytest.approx(one / 2)
    plain = [
        activations.bytes_of(shapes, Pass(side, side, tokens=0, efficient_attention=False))
        - activations.bytes_of(shapes, Pass(side, side, tokens=0))
        for side in (1024, 2048)
    ]
    assert plain[1] > 12 * plain[0] > 0


def test_a_batch_costs_what_upstreams_users_measured():
    # kohya-ss/sd-scripts #1259: bf16 10 GB at batch 1 and about 16 images in 24 GB; fp32 16.4 GB and 6 images.
    shapes = full_size.shapes("sdxl")["U-Net"]
    for number, measured in ((2, (24 - 10) / 15), (4, (24 - 16.4) / 5)):
        image = activations.bytes_of(shapes, Pass(1024, 1024, number=number)) / 2**30
        assert (1 + vram.FURTHER) * image == pytest.approx(measured, rel=0.1)


def test_text_encoders_keep_one_input_a_layer():
    shapes = full_size.shapes("sdxl")["text encoder 2"]
    assert recomputation.layer_widths(shapes) == [1280] * 32
    kept, whole = (
        activations.text_bytes(shapes, False, Pass(1024, 1024, tokens=77, checkpointing=checkpointing))
        for checkpointing in (True, False)
    )
    inputs = 32 * 2 * 1280 * 77
    assert kept == inputs + whole / 32
