"""Oracles: diffusers' and transformers' full-size models on the meta device, diffusers' key conversion."""

import hashlib
import re
from itertools import chain

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as single_file
from safetensors import safe_open
from safetensors.torch import load_file, save
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from extensions.standins import model_sd2, model_sdxl
from tests.helpers.published_unets import SD2_UNET, SDXL_UNET

REAL_TEXT = dict(num_attention_heads=16, vocab_size=49408)


def on_meta(make):
    with torch.device("meta"):
        return make()


@pytest.fixture(scope="module", params=["sdxl", "sd2"])
def checkpoint(request, standins):
    return request.param, load_file(standins[request.param])


def test_unet_keys_are_the_real_ones(checkpoint):
    kind, state = checkpoint
    config = SDXL_UNET if kind == "sdxl" else SD2_UNET
    real = on_meta(lambda: UNet2DConditionModel(**config))
    conversion = {**config, "layers_per_block": 2, "class_embed_type": None}
    conversion.setdefault("addition_embed_type", None)
    if kind == "sdxl":
        # What diffusers derives from SDXL's published configuration: the label embedding is "text_time".
        conversion["addition_embed_type"] = "text_time"
    ours, theirs = single_file.convert_ldm_unet_checkpoint(dict(state), conversion), real.state_dict()
    assert {without_depth(k) for k in ours} == {without_depth(k) for k in theirs}
    assert all(k in theirs and ours[k].ndim == theirs[k].ndim for k in ours)
    assert sum(k.startswith("model.diffusion_model.") for k in state) == len(ours)


def without_depth(name):
    """SDXL's stand-in has every block, but fewer layers inside: compare without their numbers."""
    return re.sub(r"(transformer_blocks|resblocks)\.\d+\.", r"\1.", name)


def test_vae_keys_are_the_real_ones(checkpoint):
    _, state = checkpoint
    blocks = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
    real = on_meta(lambda: AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, **blocks))
    ours = single_file.convert_ldm_vae_checkpoint(dict(state), real.config)
    assert set(ours) == set(real.state_dict())
    assert sum(k.startswith("first_stage_model.") for k in state) == len(ours)


def test_clip_keys_are_the_real_ones(standins):
    prefix = "conditioner.embedders.0.transformer."
    with safe_open(standins["sdxl"], framework="pt") as file:
        names = file.keys()
    keys = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    config = CLIPTextConfig(hidden_size=768, num_hidden_layers=12, **{**REAL_TEXT, "num_attention_heads": 12})
    real = set(on_meta(lambda: CLIPTextModel(config)).state_dict())
    assert keys == real | {"text_model.embeddings.position_ids"}


@pytest.mark.parametrize(
    "kind, prefix, layers",
    [("sdxl", "conditioner.embedders.1.model.", 32), ("sd2", "cond_stage_model.model.", 24)],
)
def test_open_clip_keys_are_the_real_ones(standins, kind, prefix, layers):
    with safe_open(standins[kind], framework="pt") as file:
        names = file.keys()
    keys = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    config = CLIPTextConfig(hidden_size=1024, num_hidden_layers=layers, **REAL_TEXT)
    real = on_meta(lambda: CLIPTextModelWithProjection(config)).state_dict()
    names = set(chain.from_iterable(map(open_clip_names, real))) | {"logit_scale"}
    assert keys <= names
    assert {without_depth(k) for k in keys} == {without_depth(k) for k in names}
    assert kind == "sdxl" or keys == names  # sd-scripts reads layers 0 to 22 of exactly 24


def open_clip_names(name):
    """The open_clip names of a transformers name, by diffusers' table; fused q, k and v meet in one."""
    if name == "text_projection.weight":
        return ["text_projection"]
    for ours, theirs in single_file.DIFFUSERS_TO_LDM_MAPPING["openclip"]["layers"].items():
        if name == ours:
            return [theirs]
    name = name.replace("text_model.encoder.layers.", "transformer.resblocks.").replace("layer_norm", "ln_")
    name = name.replace("mlp.fc1", "mlp.c_fc").replace("mlp.fc2", "mlp.c_proj")
    for part in "qkv":
        name = name.replace(f"self_attn.{part}_proj.", "attn.in_proj_")
    return [name.replace("self_attn.out_proj", "attn.out_proj")]


@pytest.mark.parametrize("kind, ensure", [("sdxl", model_sdxl.ensure_sdxl), ("sd2", model_sd2.ensure_sd2)])
def test_second_build_has_the_same_bytes(standins, tmp_path, kind, ensure):
    ensure(tmp_path / "again.safetensors")
    first, second = standins[kind], tmp_path / "again.safetensors"
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()


@pytest.mark.parametrize("content", [b"mine", b"", save({"x": torch.ones(1)}, metadata={"format": "pt"})])
def test_foreign_file_is_kept(tmp_path, content):
    (tmp_path / "mine").write_bytes(content)
    model_sdxl.ensure_sdxl(tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == content


def test_outdated_standin_is_replaced_and_current_one_kept(tmp_path, standins):
    old = tmp_path / "old.safetensors"
    old.write_bytes(save({"x": torch.ones(1)}, metadata={"standin": "of yesterday"}))
    model_sd2.ensure_sd2(old)
    assert old.read_bytes() == standins["sd2"].read_bytes()
    written = old.stat().st_mtime_ns
    model_sd2.ensure_sd2(old)
    assert old.stat().st_mtime_ns == written


def test_weights_are_finite_and_small_on_disk(checkpoint, standins):
    kind, state = checkpoint
    assert all(t.isfinite().all() for t in state.values())
    assert standins[kind].stat().st_size < 100e6


def test_prediction_starts_near_zero_and_reacts_to_last_layer(standins):
    """One coherent step of 1.5e-6 in out.2 must move the prediction visibly, ordinary weights would not."""
    state = load_file(standins["sdxl"])
    scale = state["model.diffusion_model.out.0.weight"].float()
    features = torch.nn.functional.silu(scale[:, None] * torch.randn(32, 1000))
    assert features.abs().mean() * 9 * 32 * 1.5e-6 > 0.03
    assert state["model.diffusion_model.out.2.weight"].float().std() < 2e-5
