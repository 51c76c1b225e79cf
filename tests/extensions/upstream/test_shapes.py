"""Sizes read from a checkpoint are upstream's own literals when the checkpoint is full-size."""

import math

import pytest
import torch

from extensions.model.checkpoint import Header
from extensions.upstream import shapes

pytestmark = pytest.mark.upstream


@pytest.fixture(scope="module")
def modules(patched):
    from library import model_util, original_unet, sdxl_model_util, sdxl_original_unet

    return model_util, original_unet, sdxl_model_util, sdxl_original_unet


def header_of(state, rename=lambda name: name):
    return {rename(name): tuple(tensor.shape) for name, tensor in state.items()}


def clip(config, kind="CLIPTextModel"):
    import transformers

    sizes = dict(
        zip(("hidden_size", "intermediate_size", "num_hidden_layers", "projection_dim"), config, strict=True)
    )
    with torch.device("meta"):
        return getattr(transformers, kind)(transformers.CLIPTextConfig(vocab_size=49408, **sizes))


@pytest.fixture(scope="module")
def full_sdxl(modules):
    """Header of a full-size SDXL checkpoint, as upstream itself would write it."""
    model_util, _, sdxl_model_util, sdxl_original_unet = modules
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        unet = sdxl_original_unet.SdxlUNet2DConditionModel()
        vae = AutoencoderKL(**model_util.create_vae_diffusers_config())
    te1 = clip((768, 3072, 12, 768)).state_dict()
    te2 = clip((1280, 5120, 32, 1280), "CLIPTextModelWithProjection").state_dict()
    te2 = {name: torch.empty(t.shape, device="meta") for name, t in te2.items()}
    te2 = sdxl_model_util.convert_text_encoder_2_state_dict_to_sdxl(te2, None)
    parts = (
        ("model.diffusion_model.", unet.state_dict()),
        ("conditioner.embedders.0.transformer.", te1),
        ("conditioner.embedders.1.model.", te2),
        ("first_stage_model.", model_util.convert_vae_state_dict(vae.state_dict())),
    )
    found = {}
    for prefix, state in parts:
        found |= header_of(state, lambda name, prefix=prefix: prefix + name)
    return Header("full", found, {})


def test_full_size_sdxl_gives_upstreams_literals(full_sdxl, modules):
    sizes, unet = shapes.sdxl(full_sdxl), modules[3]
    for name in ("MODEL_CHANNELS", "TIME_EMBED_DIM", "ADM_IN_CHANNELS", "CONTEXT_DIM"):
        assert sizes["unet"][name] == getattr(unet, name), name
    assert sizes["depths"] == {640: 2, 1280: 10}
    assert sizes["vae"] == {"VAE_PARAMS_CH": 128}
    expected = [(768, 3072, 12, 12), (1280, 5120, 32, 20)]
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    assert [tuple(sizes[te][name] for name in names) for te in ("te1", "te2")] == expected
    assert sizes["te2"]["projection_dim"] == 1280


def test_full_size_sdxl_builds_upstreams_own_model(full_sdxl, modules):
    unet = modules[3]
    with torch.device("meta"):
        plain = header_of(unet.SdxlUNet2DConditionModel().state_dict())
        with shapes.sized_for_sdxl(full_sdxl):
            sized = header_of(unet.SdxlUNet2DConditionModel().state_dict())
    assert sized == plain
    assert sum(math.prod(shape) for shape in sized.values()) == 2_567_463_684


def test_constants_are_put_back(full_sdxl, modules, standins):
    from extensions.model.checkpoint import read_header

    before = (modules[3].MODEL_CHANNELS, modules[3].Transformer2DModel, modules[0].CLIPTextConfig)
    with shapes.sized_for_sdxl(read_header(standins["sdxl"])):
        assert modules[3].MODEL_CHANNELS == 32
    with shapes.sized_for_sd2(read_header(standins["sd2"])):
        assert modules[0].V2_UNET_PARAMS_CONTEXT_DIM != 1024
    assert (modules[3].MODEL_CHANNELS, modules[3].Transformer2DModel, modules[0].CLIPTextConfig) == before


def test_full_size_sd2_gives_upstreams_literals(modules):
    """Names and sizes of the published SD2.1 file, where they decide."""
    model_util, original_unet, _, _ = modules
    unet, text = "model.diffusion_model.", "cond_stage_model.model."
    blocks = {f"{text}transformer.resblocks.{i}.mlp.c_fc.weight": (4096, 1024) for i in range(24)}
    header = Header(
        "full",
        {
            f"{unet}input_blocks.0.0.weight": (320, 4, 3, 3),
            f"{unet}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
            f"{text}token_embedding.weight": (49408, 1024),
            "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
            **blocks,
        },
        {},
    )
    sizes = shapes.sd2(header)
    for name, value in sizes["config"].items():
        assert value == getattr(model_util, name), name
    for name, value in sizes["unet"].items():
        assert value == getattr(original_unet, name), name
    assert (sizes["te"]["hidden_size"], sizes["te"]["num_attention_heads"]) == (1024, 16)
    assert sizes["te"]["num_hidden_layers"] == 23
