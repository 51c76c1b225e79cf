"""A checkpoint has upstream's tensors at full size, and its dtypes and values at the stand-ins' size."""

import argparse

import pytest
import torch
from safetensors.torch import load_file

from extensions.model.checkpoint import TE_SD2, VAE, Header
from extensions.reference import models, saves

FAMILIES = ("sdxl", "sd2")
PRECISIONS = {None: None, "float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def saver(loaded, precision=None):
    return saves.Saver(argparse.Namespace(output_dir="out", output_name=None, save_precision=precision), loaded)


def shapes_of(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def on_meta(tensors, family):
    header = Header("full", shapes_of(tensors), {})
    with torch.device("meta"):
        return (models.sdxl if family == "sdxl" else models.sd2)(header, tensors.__getitem__, torch.float32)


@pytest.mark.upstream
def test_a_full_size_sdxl_checkpoint_has_upstreams_tensors(full_sdxl, monkeypatch):
    """full_sdxl is what upstream saves, and two tensors more, which it would leave out."""
    unused = {name for name in full_sdxl if name.endswith(("position_ids", "denoiser.sigmas"))}
    monkeypatch.setattr(saves.Saver, "ready", lambda self, tensor: tensor)
    ours = saver(on_meta(full_sdxl, "sdxl")).tensors()
    expected = {name: shape for name, shape in shapes_of(full_sdxl).items() if name not in unused}
    assert len(unused) == 2 and shapes_of(ours) == expected


@pytest.mark.upstream
def test_a_full_size_sd2_checkpoint_has_upstreams_tensors(full_sd2, monkeypatch, upstream_save):
    from diffusers import AutoencoderKL
    from library import model_util, original_unet

    monkeypatch.setattr(saves.Saver, "ready", lambda self, tensor: tensor)
    loaded = on_meta(full_sd2, "sd2")
    with torch.device("meta"):
        unet = original_unet.UNet2DConditionModel(**model_util.create_unet_diffusers_config(True, False))
        vae = AutoencoderKL(**model_util.create_vae_diffusers_config())
    monkeypatch.setattr(model_util, "load_checkpoint_with_text_encoder_conversion", lambda _: (None, dict(full_sd2)))
    encoder = loaded.models.text_encoders[0]
    expected = upstream_save(model_util, True, "x.safetensors", encoder, unet, "base", 0, 0, None, None, vae)
    assert shapes_of(saver(loaded).tensors()) == shapes_of(expected) == shapes_of(full_sd2)
    assert f"{TE_SD2}transformer.resblocks.23.ln_1.weight" in expected and "betas" in expected


@pytest.mark.upstream
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_and_dtype_is_upstreams(family, precision, loaded, standins, upstreams, upstream_save):
    from library import model_util, sdxl_model_util

    dtype = PRECISIONS[precision]
    if family == "sdxl":
        first, second, vae, unet, scale = upstreams["sdxl"]
        arguments = ("x.safetensors", first, second, unet, 0, 0, None, vae, scale, None, dtype)
        expected = upstream_save(sdxl_model_util, *arguments)
    else:
        text, vae, unet = upstreams["sd2"]
        arguments = (True, "x.safetensors", text, unet, str(standins["sd2"]), 0, 0, None, dtype, vae)
        expected = upstream_save(model_util, *arguments)
    ours = saver(loaded[family], precision).tensors()
    assert ours.keys() == expected.keys()
    other = {name for name in ours if ours[name].dtype != expected[name].dtype}
    # Without --save_precision the autoencoder has upstream's working dtype there, the base model's here.
    assert other == ({name for name in ours if name.startswith(VAE)} if precision is None else set())
    assert [n for n in ours if not torch.equal(ours[n].to(expected[n].dtype), expected[n])] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_without_save_precision_what_does_not_train_keeps_the_base_models_dtype(family, loaded, standins):
    base, ours, carried = load_file(standins[family]), saver(loaded[family]).tensors(), loaded[family].carried
    assert {ours[name].dtype for name in ours.keys() - carried.keys()} == {torch.float32}
    assert {ours[name].dtype for name in carried} == {torch.float16} == {base[name].dtype for name in carried}
    assert all(torch.equal(ours[name], base[name]) for name in carried)
