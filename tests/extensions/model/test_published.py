"""Whole models and stand-ins pass, whatever harmless they carry; what is missing, foreign or misshaped is named."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.model import published
from extensions.model.checkpoint import Header
from extensions.model.shapes import prefixed
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.model.shapes_vae import vae_shapes
from tests.helpers import checkpoint_files

FAMILIES = ("sdxl", "sd2")
OUT = "model.diffusion_model.out.2.weight"
EXTRAS = {
    "sdxl": [
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
        "conditioner.embedders.1.model.attn_mask",
    ],
    "sd2": ["cond_stage_model.model.attn_mask", "betas", "alphas_cumprod", "sqrt_one_minus_alphas_cumprod"],
}
HARMLESS = ["v_pred", "ztsnr", "denoiser.sigmas", "model_ema.diffusion_modelout2weight", "model_ema.decay"]


def header(family: str, sizes=checkpoint_files.small, **dtypes) -> Header:
    shapes = sizes(family)
    return Header("base.safetensors", shapes, {}, dict.fromkeys(shapes, "F16") | dtypes)


def changed(made: Header, **shapes) -> Header:
    """With other shapes; None takes a tensor out."""
    found = made.shapes | shapes
    return dataclasses.replace(made, shapes={name: shape for name, shape in found.items() if shape is not None})


def refused(made: Header, family: str) -> str:
    with pytest.raises(UserError) as error:
        published.check(made, family)
    assert str(error.value).isprintable() and "base.safetensors" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("sizes", [checkpoint_files.small, checkpoint_files.full])
@pytest.mark.parametrize("family", FAMILIES)
def test_whole_models_pass(family, sizes):
    made = header(family, sizes)
    assert published.check(made, family) == []
    extras = dict.fromkeys(EXTRAS[family] + HARMLESS, (0,))
    told = published.check(changed(made, **extras), family)
    assert told[0] == "EMA copies (2 tensors)" and told[1].startswith("the noise schedule")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_no_trainer_needs_may_be_missing(family):
    scale = "conditioner.embedders.1.model.logit_scale"
    if family == "sd2":
        text = "cond_stage_model.model."
        last = [name for name in checkpoint_files.small("sd2") if name.startswith(f"{text}transformer.resblocks.23.")]
        unread = dict.fromkeys([*last, f"{text}text_projection", f"{text}logit_scale"])
        assert len(unread) == 14
        assert published.check(changed(header("sd2"), **unread), "sd2") == []
    else:
        assert published.check(changed(header("sdxl"), **{scale: None}), "sdxl") == []
        assert published.check(changed(header("sdxl"), **{scale: (1,)}), "sdxl") == []


def test_the_autoencoders_attention_may_be_matrices():
    name = "first_stage_model.encoder.mid.attn_1.q.weight"
    made = header("sdxl")
    assert published.check(changed(made, **{name: made.shapes[name][:2]}), "sdxl") == []


@settings(max_examples=150)
@given(family=st.sampled_from(FAMILIES), data=st.data())
def test_every_tensor_that_trains_is_needed_in_its_shape_as_floats(family, data):
    made = header(family)
    required, _ = published.layout(made, family)
    name = data.draw(st.sampled_from(sorted(required)))
    refused(changed(made, **{name: None}), family)
    refused(changed(made, **{name: (*made.shapes[name], 2)}), family)
    whole = dataclasses.replace(made, dtypes=made.dtypes | {name: data.draw(st.sampled_from(["I64", "U8", "BOOL"]))})
    assert "no floating-point numbers" in refused(whole, family)
    refused(changed(made, **{f"{name}.more": (2,)}), family)


@given(family=st.sampled_from(FAMILIES), data=st.data())
def test_any_shape_is_refused_in_one_line(family, data):
    made = header(family)
    names = data.draw(st.lists(st.sampled_from(sorted(made.shapes)), min_size=1, max_size=3))
    shape = st.lists(st.sampled_from([0, 1, 2, 63, 64, 77, 2**40]), max_size=5).map(tuple)
    other = {name: data.draw(shape) for name in names}
    if all(published._fits(name, shape, made.shapes[name]) for name, shape in other.items()):
        return
    if set(names) <= set(published.layout(made, family)[0]):
        refused(changed(made, **other), family)


@pytest.mark.parametrize("dtype", ["F64", "F32", "BF16", "F8_E4M3"])
def test_any_floats_will_do(dtype):
    made = header("sdxl")
    published.check(dataclasses.replace(made, dtypes=dict.fromkeys(made.shapes, dtype)), "sdxl")


def test_lines_name_what_is_wrong():
    made = header("sdxl")
    said = refused(changed(made, **{OUT: None, "lora.up.weight": (1,), "evil\x1b[31m\nerror: fine": (1,)}), "sdxl")
    assert f"1 of 1,117 are missing ({OUT})" in said and "2 too many (lora.up.weight, evil\\x1b[31m\\nerror" in said
    said = refused(changed(made, **{"model.diffusion_model.input_blocks.0.0.weight": (32, 9, 3, 3)}), "sdxl")
    assert "input_blocks.0.0.weight (32, 9, 3, 3) instead of (32, 4, 3, 3)" in said
    assert "is SD2, this run needs SDXL" in refused(header("sd2"), "sdxl")


def test_parts_that_do_not_fit_together():
    size = UNetSize(32, (1, 2, 4), (0, 1, 2), 2, context=192, vector=1600)
    said = refused(changed(header("sdxl"), **prefixed("model.diffusion_model.", unet_shapes(size))), "sdxl")
    assert "the U-Net attends to 192 channels, its text encoders give 128" in said
    size = UNetSize(40, (1, 2, 4), (0, 1, 2), 2, context=128, vector=1600)
    said = refused(changed(header("sdxl"), **prefixed("model.diffusion_model.", unet_shapes(size))), "sdxl")
    assert "says 40 channels, of which no model can be built" in said


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_an_autoencoder_by_itself(prefix):
    shapes = prefixed(prefix, vae_shapes(64))
    published.check_vae(Header("vae.safetensors", shapes, {}), prefix)
    for name in (f"{prefix}decoder.conv_out.bias", f"{prefix}encoder.conv_in.weight"):
        with pytest.raises(UserError, match="vae.safetensors"):
            published.check_vae(Header("vae.safetensors", {n: s for n, s in shapes.items() if n != name}, {}), prefix)
