"""Loaded models hold the file's tensors and compute what upstream's do; loading draws what upstream's draws."""

import inspect
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from extensions.base.errors import UserError
from extensions.model import text_names
from extensions.model.checkpoint import TE2_SDXL, TE_SD2, UNET, VAE, read_header
from extensions.reference import models

# No weight: transformers makes it, and upstream drops it, too.
POSITION_IDS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"
FAMILIES = ("sdxl", "sd2")
ENCODERS = {"sdxl": 2, "sd2": 1}


def names_in_file(found: models.Loaded) -> dict[str, dict[str, tuple[str, int | None]]]:
    """{model: {parameter: (name in the file, third of it)}}."""
    named = found.models.named()
    sdxl = found.models.family == "sdxl"
    names = {"U-Net": {name: (UNET + ldm, None) for name, ldm in found.models.unet_names.items()}}
    last, prefix = ("text encoder 2", TE2_SDXL) if sdxl else ("text encoder 1", TE_SD2)
    if sdxl:
        first = dict(named["text encoder 1"].named_parameters())
        names["text encoder 1"] = {name: (models.TE1_PREFIX + name, None) for name in first}
    pairs = {name: text_names.open_clip_name(name) for name, _ in named[last].named_parameters()}
    return names | {last: {name: (prefix + target, third) for name, (target, third) in pairs.items()}}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_the_files_bit_for_bit_and_the_rest_is_carried(family, loaded, standins):
    file, found, used = load_file(standins[family]), loaded[family], {POSITION_IDS}
    names = names_in_file(found)
    for which, model in found.models.named().items():
        assert model.state_dict().keys() == dict(model.named_parameters()).keys() == names[which].keys()
        for name, parameter in model.named_parameters():
            source, third = names[which][name]
            expected = file[source] if third is None else file[source].chunk(3)[third]
            assert parameter.dtype == torch.float32 and torch.equal(parameter, expected.float()), name
            assert parameter.untyped_storage().nbytes() == parameter.nbytes, name
            used.add(source)
    assert found.carried.keys() == file.keys() - used
    assert used.isdisjoint(name for name in file if name.startswith(VAE))
    assert all(torch.equal(found.carried[name], file[name]) for name in found.carried)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_have_memory_of_their_own_and_carried_tensors_stay_in_the_file(family, standins, tmp_path):
    """In float32, where nothing else would copy them."""
    path = tmp_path / "float32.safetensors"
    save_file({name: tensor.float() for name, tensor in load_file(standins[family]).items()}, path)
    found = models.load(str(path), family, torch.float32)
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines if line.endswith(str(path))]

    def mapped(tensor):
        return any(start <= tensor.data_ptr() < end for start, end in spans)

    parameters = [parameter for model in found.models.named().values() for parameter in model.parameters()]
    assert not any(mapped(parameter) for parameter in parameters)
    assert all(mapped(tensor) for tensor in found.carried.values())


def test_sd2_carries_the_layer_and_the_projection_that_do_not_train(loaded):
    carried = {name for name in loaded["sd2"].carried if name.startswith(TE_SD2)}
    unused = {name.removeprefix(TE_SD2).split(".resblocks.")[-1].split(".")[0] for name in carried}
    assert unused == {"23", "text_projection", "logit_scale"}
    assert loaded["sd2"].models.text_encoders[0].config.num_hidden_layers == 23


@pytest.mark.parametrize("family", FAMILIES)
def test_the_unet_takes_the_dtype_and_the_encoders_stay_in_float32(family, standins):
    found = models.load(str(standins[family]), family, torch.bfloat16).models
    assert {p.dtype for p in found.unet.parameters()} == {torch.bfloat16}
    assert {p.dtype for encoder in found.text_encoders for p in encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_other_familys_file_is_refused(family, standins):
    other = standins["sd2" if family == "sdxl" else "sdxl"]
    with pytest.raises(UserError, match="this run needs SD"):
        models.load(str(other), family, torch.float32)


@pytest.mark.upstream
def test_loading_sd2_draws_from_the_random_stream_what_upstreams_loader_draws(standins, patched):
    from library import model_util

    from extensions.upstream import shapes

    path = str(standins["sd2"])
    load = inspect.unwrap(model_util.load_models_from_stable_diffusion_checkpoint)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    with shapes.sized_for_sd2(read_header(path)):
        load(True, path, unet_use_linear_projection_in_v2=False)
    expected = torch.get_rng_state()
    torch.manual_seed(11)
    models.load(path, "sd2", torch.float32)
    assert torch.equal(torch.get_rng_state(), expected) and not torch.equal(expected, before)


def test_loading_sdxl_leaves_the_random_stream_alone(standins):
    before = torch.get_rng_state()
    models.load(str(standins["sdxl"]), "sdxl", torch.float32)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.upstream
@pytest.mark.parametrize("family", FAMILIES)
def test_the_unet_computes_what_upstreams_does(family, loaded, upstreams):
    ours, upstream = loaded[family].models.unet, upstreams[family][ENCODERS[family] + 1]
    torch.manual_seed(0)
    x, timesteps = torch.randn(2, 4, 8, 16), torch.tensor([3, 900])
    states = torch.randn(2, 77, ours.config.cross_attention_dim)
    with torch.no_grad():
        if family == "sd2":
            expected = upstream(x, timesteps, states).sample
            found = ours(x, timesteps, states).sample
        else:
            from library import sdxl_train_util

            sizes = [
                torch.tensor([[1024, 768], [512, 640]]),
                torch.tensor([[0, 8], [16, 0]]),
                torch.tensor([[96, 64]] * 2),
            ]
            pooled = torch.randn(2, ours.config.projection_class_embeddings_input_dim - 6 * 256)
            embedded = sdxl_train_util.get_size_embeddings(*sizes, "cpu")
            expected = upstream(x, timesteps, states, torch.cat([pooled, embedded], 1))
            added = {"text_embeds": pooled, "time_ids": torch.cat(sizes, 1)}
            found = ours(x, timesteps, states, added_cond_kwargs=added).sample
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.upstream
@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoders_compute_what_upstreams_do(family, loaded, upstreams):
    ids = torch.randint(0, 49408, (2, 77), generator=torch.Generator().manual_seed(0))
    pairs = zip(loaded[family].models.text_encoders, upstreams[family][: ENCODERS[family]], strict=True)
    for ours, theirs in pairs:
        with torch.no_grad():
            found = ours.eval()(ids, output_hidden_states=True)
            expected = theirs.eval()(ids, output_hidden_states=True)
        assert all(torch.equal(a, b) for a, b in zip(found.hidden_states, expected.hidden_states, strict=True))
        assert torch.equal(found.last_hidden_state, expected.last_hidden_state)
