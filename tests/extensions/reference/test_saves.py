"""Checkpoints have upstream's file names, tell the plugins, and give the same models when they are loaded again."""

import argparse

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from extensions import manager
from extensions.hookspecs import hookimpl
from extensions.reference import models, saves


def saver(loaded, **given):
    defaults = {"output_dir": "out", "output_name": None, "save_precision": None, "v_parameterization": False}
    return saves.Saver(argparse.Namespace(**defaults | given), loaded)


@pytest.mark.parametrize("family", ("sdxl", "sd2"))
def test_what_was_written_gives_the_same_models(family, standins, tmp_path):
    trained = models.load(str(standins[family]), family, torch.float32)
    with torch.no_grad():
        for model in trained.models.named().values():
            for parameter in model.parameters():
                parameter.add_(0.1)  # no fp16 value any more
        trained.models.unet.to(memory_format=torch.channels_last)  # safetensors refuses such strides
    saver(trained, output_dir=str(tmp_path), save_precision="float").last(7)
    again = models.load(str(tmp_path / "last.safetensors"), family, torch.float32)
    for name, model in again.models.named().items():
        assert_same(model.state_dict(), trained.models.named()[name].state_dict())
    assert_same({name: tensor.float() for name, tensor in again.carried.items()}, trained.carried)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name].float())] == []


class Tells:
    """A plugin that adds to the metadata and notes what was saved."""

    def __init__(self):
        self.told = []

    @hookimpl
    def checkpoint_metadata(self, optimizer_steps):
        return {"steps": str(optimizer_steps)}

    @hookimpl
    def checkpoint_saved(self, path, optimizer_steps):
        self.told.append((path, optimizer_steps))


@pytest.mark.upstream
@pytest.mark.parametrize("name", [None, "astolfo"])
def test_files_have_upstreams_names(name, loaded, tmp_path, monkeypatch, patched):
    from library import train_util

    monkeypatch.setattr(saves, "save_file", lambda tensors, path, metadata: open(path, "w").close())
    monkeypatch.setattr(saves.Saver, "tensors", lambda self: {})
    writer = saver(loaded["sdxl"], output_dir=str(tmp_path), output_name=name)
    for write in (lambda: writer.step(1250), lambda: writer.epoch(3, 9), lambda: writer.last(10)):
        write()
    args = argparse.Namespace(output_name=name)
    expected = {
        train_util.get_step_ckpt_name(args, ".safetensors", 1250),
        train_util.get_epoch_ckpt_name(args, ".safetensors", 3),
        train_util.get_last_ckpt_name(args, ".safetensors"),
    }
    assert {path.name for path in tmp_path.iterdir()} == expected


@pytest.mark.parametrize(("v", "prediction"), [(False, "epsilon"), (True, "v")])
def test_plugins_and_readers_are_told(v, prediction, loaded, tmp_path, monkeypatch):
    with_plugin, plugin = manager.Manager(), Tells()
    with_plugin.register("tells", plugin)
    monkeypatch.setattr(manager, "_current", with_plugin)
    saver(loaded["sd2"], output_dir=str(tmp_path), save_precision="fp16", v_parameterization=v).step(42)
    path = tmp_path / "at-step00000042.safetensors"
    assert plugin.told == [(str(path), 42)] and list(tmp_path.iterdir()) == [path]
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["steps"] == "42" and metadata["modelspec.prediction_type"] == prediction
    assert metadata["modelspec.title"] == "at-step00000042"
    assert metadata["modelspec.architecture"].startswith("stable-diffusion-v2")


@pytest.mark.upstream
@pytest.mark.parametrize("more", [{}, {"min_timestep": 100}, {"max_timestep": 900, "clip_skip": 2}])
@pytest.mark.parametrize("v", [False, True])
@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_the_model_spec_is_sd_scripts_own(family, v, more, loaded, patched):
    """But for the date's zone, and the commit that upstream asks git of whatever folder it stands in."""
    from library import train_util

    own = saver(loaded[family], v_parameterization=v, **more).metadata("last")
    flags = dict.fromkeys(("min_timestep", "max_timestep", "clip_skip", "resolution"))
    flags |= dict.fromkeys(f"metadata_{name}" for name in ("author", "description", "license", "tags"))
    args = argparse.Namespace(
        **flags
        | {"v2": family == "sd2", "v_parameterization": v, "metadata_title": "last", "output_name": None}
        | more
    )
    theirs = train_util.get_sai_model_spec(None, args, family == "sdxl", False, False, is_stable_diffusion_ckpt=True)
    apart = {"modelspec.date", "modelspec.implementation_version"}
    assert {key: value for key, value in own.items() if key not in apart} == {
        key: value for key, value in theirs.items() if key not in apart
    }


def test_a_save_outlives_the_base_model(standins, tmp_path):
    base = tmp_path / "base.safetensors"
    base.write_bytes(standins["sd2"].read_bytes())
    found = models.load(str(base), "sd2", torch.float32)
    base.unlink()
    saver(found, output_dir=str(tmp_path)).last(1)
    written, original = load_file(tmp_path / "last.safetensors"), load_file(standins["sd2"])
    assert written.keys() == original.keys()
    assert all(torch.equal(written[name], original[name].to(written[name].dtype)) for name in original)
