"""What does not train leaves with the base's bits, in both trainers' models; what trains, or has, as it is."""

import pytest
import torch

from extensions.model import untrained
from extensions.model.checkpoint import TE1_SDXL, TE2_SDXL, TE_SD2, UNET, VAE
from extensions.reference import models

PREFIXES = {"sdxl": (UNET, TE1_SDXL, TE2_SDXL), "sd2": (UNET, TE_SD2)}
FAMILIES = tuple(PREFIXES)


@pytest.fixture
def loaded(request, standins):
    """Held in bf16, nothing of it trains; the base is the stand-in's file in full precision, drawn anew."""
    found = models.load(str(standins[request.param]), request.param, torch.float32)
    draw = torch.Generator().manual_seed(1)
    found.base = {
        name: torch.randn(tensor.shape, generator=draw) if tensor.is_floating_point() else tensor
        for name, tensor in found.base.items()
    }
    for model in found.models.named().values():
        model.to(torch.bfloat16).requires_grad_(False)
    return found


def written(found) -> dict[str, torch.Tensor]:
    """The tensors as a save has them: rounded on the way."""
    return {name: tensor.to(torch.bfloat16) for name, tensor in found.base.items() if tensor.is_floating_point()}


def of_base(found, tensors) -> set[str]:
    return {name for name in tensors if untrained.same_bits(tensors[name], found.base[name])}


@pytest.mark.parametrize("loaded", FAMILIES, indirect=True)
def test_everything_that_is_frozen_and_the_autoencoder(loaded):
    family = loaded.models.family
    made = untrained.with_base_bits(written(loaded), loaded.base, loaded.models)
    read = set(untrained.frozen(loaded.models)) | {name for name in made if name.startswith(VAE)}
    assert of_base(loaded, made) == read & set(made)
    assert all(sum(name.startswith(prefix) for name in read) > 40 for prefix in PREFIXES[family])
    left = set(made) - read  # what no loader reads: the 24th layer, the projection, the scale
    assert all(name.startswith((TE2_SDXL + "logit_scale", TE_SD2)) for name in left) and len(left) <= 14


@pytest.mark.parametrize("loaded", FAMILIES, indirect=True)
def test_in_the_dtype_of_the_file_it_is_rounded_once(loaded):
    made = untrained.with_base_bits(written(loaded), loaded.base, loaded.models, torch.float16)
    name = UNET + "out.2.weight"
    assert torch.equal(made[name], loaded.base[name].to(torch.float16))
    assert not torch.equal(made[name], loaded.base[name].to(torch.bfloat16).to(torch.float16))


@pytest.mark.parametrize("loaded", FAMILIES, indirect=True)
def test_what_trains_stays_and_a_third_of_a_tensor_that_trains_is_enough(loaded):
    encoder = loaded.models.text_encoders[-1]
    encoder.text_model.encoder.layers[0].self_attn.k_proj.weight.requires_grad_(True)
    loaded.models.unet_parameters()["out.2.bias"].requires_grad_(True)
    prefix = PREFIXES[loaded.models.family][-1]
    names = [prefix + "transformer.resblocks.0.attn.in_proj_weight", UNET + "out.2.bias"]
    made = untrained.with_base_bits(written(loaded), loaded.base, loaded.models)
    assert not of_base(loaded, {name: made[name] for name in names})
    assert of_base(loaded, made) > {UNET + "out.2.weight", prefix + "transformer.resblocks.0.attn.in_proj_bias"}


@pytest.mark.parametrize("loaded", ["sdxl"], indirect=True)
def test_what_was_trained_before_it_was_frozen_is_not_lost(loaded):
    tensors, name = written(loaded), UNET + "out.2.weight"
    tensors[name] = tensors[name] + 1
    assert torch.equal(untrained.with_base_bits(tensors, loaded.base, loaded.models)[name], tensors[name])


def test_marks_are_set_and_taken_away():
    tensors = {"a": torch.zeros(1), "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    assert set(untrained.marked(tensors, ())) == {"a"}
    made = untrained.marked(tensors, ("v_pred",))
    assert set(made) == {"a", "v_pred"} and made["v_pred"].numel() == 0


def test_same_bits_are_not_same_values():
    nan, zero = torch.tensor([float("nan")]), torch.tensor([0.0])
    assert untrained.same_bits(nan, nan) and not untrained.same_bits(zero, -zero)


def test_a_mapped_file_outlives_its_removal(standins, tmp_path):
    copy = tmp_path / "base.safetensors"
    copy.write_bytes(standins["sdxl"].read_bytes())
    found, kept = untrained.mapped(copy), untrained.mapped(standins["sdxl"])
    copy.unlink()
    assert found.keys() == kept.keys() and all(torch.equal(found[name], kept[name]) for name in kept)
