"""The stand-ins' models of both trainers, full-size checkpoints on the meta device as upstream writes them."""

import inspect
from unittest import mock

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from extensions.model.checkpoint import read_header


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The stand-ins' products are too small for two threads: on a busy machine they wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def loaded(standins) -> dict:
    """{family: the reference trainer's models of the stand-in}, in float32. Not to be changed by a test."""
    from extensions.reference import models

    return {family: models.load(str(standins[family]), family, torch.float32) for family in ("sdxl", "sd2")}


@pytest.fixture(scope="session")
def upstreams(standins, patched) -> dict:
    """The same by upstream's loaders, in their order: encoders, autoencoder, U-Net, SDXL's logit scale."""
    from library import model_util, sdxl_model_util

    from extensions.upstream import shapes

    sdxl, sd2 = str(standins["sdxl"]), str(standins["sd2"])
    with shapes.sized_for_sdxl(read_header(sdxl)):
        load = inspect.unwrap(sdxl_model_util.load_models_from_sdxl_checkpoint)
        *found, _ = load("sdxl", sdxl, "cpu")
    with shapes.sized_for_sd2(read_header(sd2)):
        load = inspect.unwrap(model_util.load_models_from_stable_diffusion_checkpoint)
        return {"sdxl": found, "sd2": load(True, sd2, unet_use_linear_projection_in_v2=False)}


@pytest.fixture(scope="session")
def upstream_save():
    """What upstream's own save hands to safetensors, as a function of its module and arguments."""
    return saved


def clip(hidden: int, intermediate: int, layers: int, cls):
    """A text encoder of the published sizes."""
    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers}
    return cls(CLIPTextConfig(vocab_size=49408, projection_dim=hidden, **sizes))


def saved(module, *arguments) -> dict[str, torch.Tensor]:
    """What upstream's own save of that module hands to safetensors, without the seam around it."""
    save = inspect.unwrap(module.save_stable_diffusion_checkpoint)
    with mock.patch.object(module, "save_file") as save_file:
        save(*arguments)
    return save_file.call_args.args[0]


@pytest.fixture(scope="session")
def full_sdxl(patched) -> dict[str, torch.Tensor]:
    """SDXL, with two tensors of the published file that no trainer uses."""
    from diffusers import AutoencoderKL
    from library import model_util, sdxl_model_util, sdxl_original_unet

    with torch.device("meta"):
        unet = sdxl_original_unet.SdxlUNet2DConditionModel()
        vae = AutoencoderKL(**model_util.create_vae_diffusers_config())
        first = clip(768, 3072, 12, CLIPTextModel)
        second = clip(1280, 5120, 32, CLIPTextModelWithProjection)
        unused = {
            "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": torch.empty(1, 77),
            "denoiser.sigmas": torch.empty(1000),
        }
        scale = torch.empty(())
    return saved(sdxl_model_util, "x.safetensors", first, second, unet, 0, 0, None, vae, scale, None) | unused


@pytest.fixture(scope="session")
def full_sd2(patched) -> dict[str, torch.Tensor]:
    """SD2.1: all 24 layers of the text encoder, its projection, and the schedule that the file carries."""
    from diffusers import AutoencoderKL
    from library import model_util, original_unet

    with torch.device("meta"):
        unet = original_unet.UNet2DConditionModel(**model_util.create_unet_diffusers_config(True, False))
        vae = AutoencoderKL(**model_util.create_vae_diffusers_config())
        text = clip(1024, 4096, 23, CLIPTextModel)
        betas = torch.empty(1000)
    return saved(model_util, True, "x.safetensors", text, unet, None, 0, 0, None, None, vae) | {"betas": betas}
