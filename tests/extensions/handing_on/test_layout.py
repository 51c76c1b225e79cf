"""Names and shapes are the published models': at full size, from headers and on the meta device, nothing is read.

The oracles are diffusers' and transformers' own models of the published configurations, and diffusers' conversion.
"""

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as theirs
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from extensions.handing_on import layout, stored
from extensions.model.checkpoint import TE2_SDXL, TE_SD2, Header
from tests.helpers import checkpoint_files, published_unets

POSITION_IDS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"
EXTRAS = ["model_ema.decay", "betas", "global_step", "alphas_cumprod", "v_pred", "first_stage_model.loss.x"]
# Tensors of sd_xl_base_1.0.safetensors, and of SD2.1's without the noise schedule.
COUNTS = {"sdxl": 2515, "sd2": 1228}
VAE = dict(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
           up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4)  # fmt: skip
BIG_G = dict(
    hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, projection_dim=1280
)
ENCODERS = {
    ("sdxl", "text_encoder"): (CLIPTextModel, dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12)),
    ("sdxl", "text_encoder_2"): (CLIPTextModelWithProjection, BIG_G),
    ("sd2", "text_encoder"): (CLIPTextModel, dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23,
                                                  num_attention_heads=16)),
}  # fmt: skip


def header(family: str, sizes=checkpoint_files.full, **more) -> Header:
    shapes = sizes(family) | more
    return Header("last.safetensors", shapes, {}, dict.fromkeys(shapes, "F16"))


def on_meta(header: Header) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in header.shapes.items()}


def shapes(model: torch.nn.Module) -> dict:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def published(family: str, part: str) -> dict:
    """Names and shapes of a model of the published configuration, as diffusers and transformers build it."""
    with init_empty_weights():
        if part == "unet":
            return shapes(UNet2DConditionModel(**getattr(published_unets, f"{family.upper()}_UNET")))
        if part == "vae":
            return shapes(AutoencoderKL(**VAE))
        cls, config = ENCODERS[family, part]
        return shapes(cls(CLIPTextConfig(**config)))


@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_a_single_file_has_the_tensors_of_the_published_one(family):
    found = layout.shapes_of(layout.single_file(header(family), ()))
    ids = {POSITION_IDS: (1, 77)} if family == "sdxl" else {}
    assert found == checkpoint_files.full(family) | ids
    assert len(found) == COUNTS[family]


@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_a_folder_has_the_tensors_of_diffusers_models(family):
    parts = layout.parts(header(family))
    assert {part: layout.shapes_of(entries) for part, entries in parts.items()} == {
        part: published(family, part) for part in parts
    }
    assert len(parts) == (4 if family == "sdxl" else 3)


@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_diffusers_takes_the_single_file_for_what_it_is(family):
    """Its own detection by key names, and its conversion of each model, on the meta device."""
    made = header(family, **(dict.fromkeys(["v_pred", "ztsnr"], (0,))))
    tensors = {e.name: torch.empty(e.shape, device="meta") for e in layout.single_file(made, ("v_pred", "ztsnr"))}
    assert theirs.infer_diffusers_model_type(tensors) == {"sdxl": "xl_base", "sd2": "v2"}[family]
    with init_empty_weights():
        unet = UNet2DConditionModel(**getattr(published_unets, f"{family.upper()}_UNET"))
        vae = AutoencoderKL(**VAE)
    converted = theirs.convert_ldm_unet_checkpoint(dict(tensors), unet.config)
    assert {name: tuple(each.shape) for name, each in converted.items()} == published(family, "unet")
    converted = theirs.convert_ldm_vae_checkpoint(dict(tensors), vae.config)
    assert {name: tuple(each.shape) for name, each in converted.items()} == published(family, "vae")


@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_the_headers_that_are_written_say_the_same(family):
    entries = layout.single_file(header(family), ("v_pred",))
    made = stored.header_of(entries, torch.float16, {"format": "pt"})
    assert {name: tuple(entry["shape"]) for name, entry in made.entries.items()} == layout.shapes_of(entries)
    kinds = {entry["dtype"] for name, entry in made.entries.items() if name not in (POSITION_IDS, "v_pred")}
    assert kinds == {"F16"} and made.entries["v_pred"]["data_offsets"][0] == made.entries["v_pred"]["data_offsets"][1]
    if family == "sdxl":
        assert made.entries[POSITION_IDS]["dtype"] == "I64"
    assert made.data == stored.bytes_of(entries, torch.float16)
    ends = sorted(entry["data_offsets"] for entry in made.entries.values())
    assert ends[0][0] == 0 and all(one[1] == other[0] for one, other in zip(ends, ends[1:], strict=False))


@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_every_tensor_of_a_folder_comes_from_where_diffusers_takes_it(family):
    """At a small size, with numbers in the tensors: each model's state as diffusers converts it."""
    made = header(family, checkpoint_files.small)
    draw = torch.Generator().manual_seed(1)
    tensors = {name: torch.randn(shape, generator=draw) for name, shape in made.shapes.items()}
    parts = layout.parts(made)
    from extensions.handing_on.diffusers_layout import empty

    models = empty(made)
    prefix = TE2_SDXL if family == "sdxl" else TE_SD2
    last = "text_encoder_2" if family == "sdxl" else "text_encoder"
    wanted = {
        "unet": theirs.convert_ldm_unet_checkpoint(dict(tensors), models["unet"].config),
        "vae": theirs.convert_ldm_vae_checkpoint(dict(tensors), models["vae"].config),
        "text_encoder": theirs.convert_ldm_clip_checkpoint(tensors),
        last: theirs.convert_open_clip_checkpoint(models[last], tensors, prefix),
    }
    for part, entries in parts.items():
        for entry in entries:
            assert torch.equal(value(entry, tensors), wanted[part][entry.name]), (part, entry.name)
        assert {entry.name for entry in entries} == models[part].state_dict().keys()


def value(entry, tensors) -> torch.Tensor:
    class File(stored.Source):
        def __init__(self):
            pass

        def stored(self, name):
            return tensors[name]

    return File().value(entry)


@given(st.data())
def test_what_a_checkpoint_has_besides_is_left_out(data):
    family = data.draw(st.sampled_from(["sdxl", "sd2"]))
    extras = data.draw(st.lists(st.sampled_from([*EXTRAS, POSITION_IDS]), unique=True))
    plain = header(family, checkpoint_files.small)
    with_extras = header(family, checkpoint_files.small, **dict.fromkeys(extras, (3,)))
    found = layout.shapes_of(layout.single_file(with_extras, ()))
    assert found == layout.shapes_of(layout.single_file(plain, ()))


def test_what_has_another_shape_than_published_gets_it():
    """Matrices in the autoencoder's attention, a logit_scale of one element: some loaders take both."""
    matrix, scale = "first_stage_model.encoder.mid.attn_1.q.weight", "conditioner.embedders.1.model.logit_scale"
    made = header("sdxl")
    width = made.shapes[matrix][0]
    found = layout.shapes_of(layout.single_file(header("sdxl", **{matrix: (width, width), scale: (1,)}), ()))
    assert found[matrix] == (width, width, 1, 1) and found[scale] == ()
