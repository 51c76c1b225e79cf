"""No pickle reaches upstream's loaders, whatever its name; checkpoints get base bits and marks, whatever the form."""

import argparse
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from extensions import manager
from extensions.base.errors import UserError
from extensions.upstream import seams, wrappers

pytestmark = pytest.mark.upstream
FLAGS = {"v_parameterization": True, "zero_terminal_snr": True}


@pytest.fixture(autouse=True)
def installed(patched, monkeypatch):
    seams.install()
    monkeypatch.setattr(manager, "_args", argparse.Namespace(**FLAGS))
    monkeypatch.setattr(wrappers, "_models", None)
    monkeypatch.setattr(wrappers, "_base", {})


def no_pickle(monkeypatch):
    def load(*_, **__):
        raise AssertionError("torch.load")

    monkeypatch.setattr(torch, "load", load)


def sdxl(path):
    from library import sdxl_model_util

    return sdxl_model_util.load_models_from_sdxl_checkpoint("sdxl", str(path), "cpu")


def sd2(path):
    from library import model_util

    return model_util.load_models_from_stable_diffusion_checkpoint(True, str(path))


LOADERS = {"sdxl": sdxl, "sd2": sd2}


@pytest.mark.parametrize("family", LOADERS)
def test_safetensors_load_under_any_name_with_harmless_extras(family, standins, tmp_path, monkeypatch):
    no_pickle(monkeypatch)
    extras = {"v_pred": torch.zeros(0), "model_ema.decay": torch.zeros(1), "denoiser.sigmas": torch.zeros(1000)}
    prefix = "conditioner.embedders.1.model." if family == "sdxl" else "cond_stage_model.model."
    extras[f"{prefix}attn_mask"] = torch.zeros(77, 77)
    save_file(load_file(standins[family]) | extras, tmp_path / "base.ckpt")
    LOADERS[family](tmp_path / "base.ckpt")
    assert set(extras) <= set(wrappers._base)


@pytest.mark.parametrize("name", ["base.ckpt", "base.safetensors", "vae.bin"])
def test_pickles_are_refused_before_they_are_loaded(name, tmp_path, monkeypatch):
    from library import model_util

    no_pickle(monkeypatch)
    torch.save({"state_dict": {}}, tmp_path / name)
    for load in (sdxl, sd2, lambda path: model_util.load_vae(str(path), torch.float32), model_util.is_safetensors):
        with pytest.raises(UserError, match="pickle"):
            load(tmp_path / name)
    assert model_util.is_safetensors("new.safetensors") and not model_util.is_safetensors("new.ckpt")


def test_a_link_to_the_base_is_read_where_it_stands(standins, tmp_path, monkeypatch):
    """Upstream takes a link's target for a path from where the trainer runs."""
    from library import sdxl_train_util

    (tmp_path / "models").mkdir()
    (tmp_path / "real.safetensors").symlink_to(standins["sdxl"])
    (tmp_path / "models" / "link.safetensors").symlink_to("../real.safetensors")
    monkeypatch.chdir("/")
    found = sdxl_train_util._load_target_model(
        str(tmp_path / "models" / "link.safetensors"), None, "sdxl", torch.float32
    )
    assert found[0] is True
    with pytest.raises(UserError, match="no such checkpoint"):
        sdxl_train_util._load_target_model("somebody/some-model", None, "sdxl", torch.float32)


def test_another_autoencoder_of_any_size_goes_into_the_checkpoint(standins, tmp_path):
    from library import model_util

    vae = {name.removeprefix("first_stage_model."): tensor + 1 for name, tensor in load_file(standins["sd2"]).items()
           if name.startswith("first_stage_model.")}  # fmt: skip
    save_file(vae, tmp_path / "vae.safetensors")
    sdxl(standins["sdxl"])
    model_util.load_vae(str(tmp_path / "vae.safetensors"), torch.bfloat16)
    assert all(torch.equal(wrappers._base[f"first_stage_model.{name}"], tensor) for name, tensor in vae.items())


def saved(family, models, base, path):
    from library import model_util, sdxl_model_util

    if family == "sdxl":
        first, second, vae, unet, scale, _ = models
        sdxl_model_util.save_stable_diffusion_checkpoint(
            str(path), first, second, unet, 0, 0, None, vae, scale, None, None
        )
    else:
        text, vae, unet = models
        model_util.save_stable_diffusion_checkpoint(True, str(path), text, unet, str(base), 0, 0, None, None, vae)
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path)["state_dict"]


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
@pytest.mark.parametrize("family", LOADERS)
def test_a_checkpoint_has_base_bits_and_marks_and_outlives_the_base(family, suffix, standins, tmp_path):
    base = tmp_path / "base.safetensors"
    save_file(load_file(standins[family]) | {"v_pred": torch.zeros(0)}, base)
    models = LOADERS[family](base)
    for model in models[: 4 if family == "sdxl" else 3]:
        model.requires_grad_(False).to(torch.bfloat16)
    os.unlink(base)
    made, original = saved(family, models, base, tmp_path / f"out.{suffix}"), load_file(standins[family])
    unread = {name for name in original if "position_ids" in name}
    assert made.keys() - {"v_pred", "ztsnr"} == original.keys() - unread
    different = [n for n in made if n in original and not torch.equal(made[n], original[n].to(made[n].dtype))]
    assert different == [] and made["v_pred"].numel() == made["ztsnr"].numel() == 0
    rounded = [n for n in original if n in made and not torch.equal(original[n], original[n].bfloat16().half())]
    assert len(rounded) > 100  # which were held in fewer bits
