"""The files that a run begins with: all of them looked at before anything is loaded, each fault one line."""

import argparse

import pytest

from extensions.base.errors import UserError
from extensions.model.shapes import prefixed
from extensions.model.shapes_vae import vae_shapes
from extensions.trainer import base_model
from tests.helpers import checkpoint_files

ASKED = {"v_parameterization": False, "zero_terminal_snr": False, "vae": None}


def write(path, family="sdxl", metadata=None, **more):
    shapes = checkpoint_files.small(family) | dict.fromkeys(more, (0,))
    return checkpoint_files.write(path, checkpoint_files.entries(shapes), metadata)


def args(path, **given):
    return argparse.Namespace(pretrained_model_name_or_path=str(path), **ASKED | given)


@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_a_whole_base_passes_and_extras_are_told(tmp_path, family, capsys):
    base_model.check_args(args(write(tmp_path / "a.safetensors", family)), family)
    assert capsys.readouterr().out == ""
    base_model.check_args(args(write(tmp_path / "a.ckpt", family, **{"model_ema.decay": 1})), family)
    assert "also holds EMA copies (1 tensors)" in capsys.readouterr().out


def test_another_family_or_prediction_is_refused(tmp_path):
    path = write(tmp_path / "a.safetensors", v_pred=1, ztsnr=1)
    for given, family in (({}, "sdxl"), ({"v_parameterization": True}, "sdxl"), ({}, "sd2")):
        with pytest.raises(UserError, match=r"a\.safetensors"):
            base_model.check_args(args(path, **given), family)
    base_model.check_args(args(path, v_parameterization=True, zero_terminal_snr=True), "sdxl")
    base_model.check_args(args(path, change_prediction=True), "sdxl")


def test_flow_is_known_by_the_metadata(tmp_path):
    path = write(tmp_path / "a.safetensors", metadata={"modelspec.prediction_type": "flow"})
    flow = {"extensions": "objective", "objective": "flow"}
    base_model.check_args(args(path, **flow), "sdxl")
    for given in ({}, flow | {"objective": "v"}):
        with pytest.raises(UserError, match="predicts flow .* give --objective=flow"):
            base_model.check_args(args(path, **given), "sdxl")
    noise = write(tmp_path / "b.safetensors", metadata={"modelspec.prediction_type": "epsilon"})
    with pytest.raises(UserError, match="give --objective=epsilon"):
        base_model.check_args(args(noise, **flow), "sdxl")
    base_model.check_args(args(noise, change_prediction=True, **flow), "sdxl")


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_another_autoencoder(tmp_path, prefix):
    whole = prefixed(prefix, vae_shapes(32))
    base = write(tmp_path / "a.safetensors")
    vae = checkpoint_files.write(tmp_path / "vae.safetensors", checkpoint_files.entries(whole))
    base_model.check_args(args(base, vae=str(vae)), "sdxl")
    whole.popitem()
    checkpoint_files.write(vae, checkpoint_files.entries(whole))
    for path in (vae, tmp_path, tmp_path / "some/hub-id"):
        with pytest.raises(UserError, match="^--vae: "):
            base_model.check_args(args(base, vae=str(path)), "sdxl")


def test_an_autoencoder_that_sd_scripts_would_unpickle(tmp_path):
    vae = checkpoint_files.write(tmp_path / "vae.bin", checkpoint_files.entries(vae_shapes(32)))
    with pytest.raises(UserError, match="rename it"):
        base_model.vae_header(vae)


def test_a_trainer_without_a_base_model_is_left_alone():
    base_model.check_args(None, "sdxl")
