"""What a checkpoint says and holds after a run on a marked base in full precision: marks, and the base's bits."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
V = "--v_parameterization --zero_terminal_snr"


@pytest.fixture(scope="module")
def base(standins, tmp_path_factory):
    """A stand-in whose weights are no numbers of bf16, marked as a v-prediction model, with an EMA's leftovers."""
    draw = torch.Generator().manual_seed(1)
    tensors = {
        name: tensor.float() * (1 + torch.rand(tensor.shape, generator=draw) / 1000)
        for name, tensor in load_file(standins["sdxl"]).items()
        if tensor.is_floating_point()
    }
    path = tmp_path_factory.mktemp("base") / "v.safetensors"
    save_file(tensors | {name: torch.zeros(0) for name in ("v_pred", "ztsnr", "model_ema.decay")}, path)
    return path


def train(base, folder, trainer, flags):
    words = f"--pretrained_model_name_or_path='{base}' --save_precision=float {flags}"
    return launch("25022601", folder, PROFILE="tiny", TINY_STEPS=1, TRAINER=trainer, ARGS=words)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_marks_stay_and_what_does_not_train_has_the_bases_bits(trainer, base, tmp_path):
    # The launcher gives --full_bf16, too.
    done = train(base, tmp_path, trainer, f"{V} --unet_percent=50 --learning_rate_te1=0 --learning_rate=1e-3")
    assert done.code == 0, done.said[-3000:]
    assert "also holds EMA copies (1 tensors), which no trainer reads" in done.said
    made, before = load_file(done.output / "last.safetensors"), load_file(base)
    assert made.keys() == before.keys() - {"model_ema.decay"} and made["v_pred"].numel() == 0
    same = {name for name in made if torch.equal(made[name], before[name])}
    kept = [name for name in made if name.startswith(("first_stage_model.", "conditioner.embedders.0."))]
    assert set(kept) <= same and len(kept) > 400
    unet = [name for name in made if name.startswith("model.diffusion_model.")]
    assert 0.2 < sum(made[name].numel() for name in unet if name in same) / sum(made[n].numel() for n in unet) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_run_on_noise_of_a_v_base_is_asked_for_and_leaves_no_marks(trainer, base, tmp_path):
    refused = train(base, tmp_path, trainer, "")
    said = [line for line in refused.said.splitlines() if line.startswith("error: ")]
    assert refused.code == 2 and refused.folder is None and "Traceback" not in refused.said
    assert len(said) == 1 and "predicts v" in said[0] and "--change_prediction" in said[0]
    done = train(base, tmp_path, trainer, "--change_prediction")
    assert done.code == 0, done.said[-3000:]
    assert not {"v_pred", "ztsnr"} & set(load_file(done.output / "last.safetensors"))
