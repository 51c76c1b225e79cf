"""Names and splits of open_clip's text encoders, both ways, against upstream's conversions and diffusers'."""

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from extensions.model import text_names
from extensions.model.checkpoint import TE2_SDXL, TE_SD2

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "vocab_size": 100,
    "projection_dim": 64,
}


def model(cls=CLIPTextModelWithProjection):
    """Every parameter random: freshly made biases and norms are 0 and 1, all alike."""
    torch.manual_seed(0)
    made = cls(CLIPTextConfig(**SIZES))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("cls", [CLIPTextModel, CLIPTextModelWithProjection])
def test_there_and_back(cls):
    state = model(cls).state_dict()
    stored = text_names.to_open_clip(state)
    assert stored["transformer.resblocks.1.attn.in_proj_weight"].shape == (3 * 64, 64)
    assert ("text_projection" in stored) == (cls is CLIPTextModelWithProjection)
    assert_same(text_names.from_open_clip(state, stored.__getitem__), state)
    assert_same(text_names.to_open_clip(text_names.from_open_clip(state, stored.__getitem__)), stored)


def test_query_key_and_value_have_storage_of_their_own():
    state = model().state_dict()
    stored = text_names.to_open_clip(state)
    loaded = text_names.from_open_clip(state, stored.__getitem__)
    thirds = {
        name: tensor for name, tensor in loaded.items() if name.split(".")[-2] in ("q_proj", "k_proj", "v_proj")
    }
    assert len(thirds) == 2 * 3 * 2
    for name, tensor in thirds.items():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes, name
    taken = {tensor.data_ptr() for tensor in [*thirds.values(), *stored.values()]}
    assert len(taken) == len(thirds) + len(stored)


@pytest.mark.parametrize(
    "name",
    [
        "logit_scale",
        "text_model.embeddings.position_ids",
        "text_model.encoder.layers.0.self_attn.o_proj.weight",
        "text_model.encoder.layers.x.layer_norm1.weight",
        "text_model.encoder.layers.0.layer_norm1.weight.more",
    ],
)
def test_an_unknown_name_is_a_key_error(name):
    with pytest.raises(KeyError):
        text_names.open_clip_name(name)
    with pytest.raises(KeyError):
        text_names.to_open_clip({name: torch.zeros(1)})


@pytest.mark.upstream
def test_sdxls_second_encoder_is_converted_as_upstream_does(patched):
    from library import sdxl_model_util as upstream

    state = model().state_dict()
    stored = text_names.to_open_clip(state)
    assert_same(stored, upstream.convert_text_encoder_2_state_dict_to_sdxl(state, None))
    theirs, _ = upstream.convert_sdxl_text_encoder_2_checkpoint(prefixed(TE2_SDXL, stored), 77)
    assert_same(text_names.from_open_clip(state, stored.__getitem__), theirs)


@pytest.mark.upstream
def test_sd2s_encoder_is_converted_as_upstream_does(patched):
    from library import model_util as upstream

    state = model(CLIPTextModel).state_dict()
    stored = text_names.to_open_clip(state)
    assert_same(stored, upstream.convert_text_encoder_state_dict_to_sd_v2(state))
    theirs = upstream.convert_ldm_clip_checkpoint_v2(prefixed(TE_SD2, stored), 77)
    assert_same(text_names.from_open_clip(state, stored.__getitem__), theirs)


def test_text_projection_is_not_transposed_as_in_upstream_and_unlike_diffusers():
    """That upstream does not is held above; this holds that diffusers does, and that nothing else differs."""
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    made = model()
    state = made.state_dict()
    stored = text_names.to_open_clip(state)
    theirs = convert_open_clip_checkpoint(made, prefixed(TE2_SDXL, stored), prefix=TE2_SDXL)
    ours = text_names.from_open_clip(state, stored.__getitem__)
    assert torch.equal(ours.pop("text_projection.weight"), stored["text_projection"])
    assert torch.equal(theirs.pop("text_projection.weight"), stored["text_projection"].T)
    theirs.pop("text_model.embeddings.position_ids", None)
    assert_same(ours, theirs)
