"""Flow with learned weights and even timesteps, in tiny runs: resumed to the last bit, looked at, and marked."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from extensions.resume import states
from tests.helpers.launching import launch

RUN = "25022601"
PLUGINS = "objective,timestep_draws,loss_weights,resume_at_step,save_states,on_nan,record_run"
FLOW = (
    "--objective=flow --timestep_law=logit_normal --timestep_shift=3 --loss_weight=edm2 "
    "--gradient_accumulation_steps=2 --states_every_n_steps=1 --keep_states=9 --save_precision=float"
)
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]


def trained(output, args, **more):
    base = f"--extensions=unet_percent,dual_tag,token_chunks,{PLUGINS}"
    done = launch(RUN, output, PROFILE="tiny", TINY_STEPS=3, ARGS=f"{base} {FLOW} {args}", **more)
    assert done.code == 0, done.said[-3000:]
    return done


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_flow_goes_on_to_the_last_bit_and_says_what_it_is(trainer, tmp_path, standins):
    """Stopped after its second step and resumed, held against one that was not."""
    unbroken = trained(tmp_path / "0", "", TRAINER=trainer)
    trained(tmp_path / "1", "--stop_at_step=2", TRAINER=trainer)
    resumed = trained(tmp_path / "1", "", TRAINER=trainer, RESUME="auto")
    one, other = (load_file(each.output / "last.safetensors") for each in (unbroken, resumed))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    files = [states.newest_good(states.folder_of(each.output)).facts.files for each in (unbroken, resumed)]
    assert "loss_weights.safetensors" in files[0] and files[0] == files[1]
    with safe_open(resumed.output / "last.safetensors", "pt") as file:
        said = file.metadata()
    assert (said["modelspec.prediction_type"], said["sdxl_trainer.flow_shift"]) == ("flow", "3.0")
    assert not {"v_pred", "ztsnr"} & one.keys()
    assert all(line["loss_by_stratum"] for line in unbroken.metrics if "loss" in line)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_flow_is_validated_and_drawn(trainer, tmp_path, standins):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red fox --w 64 --h 64 --s 2\n")
    looked_at = f"--extensions=unet_percent,dual_tag,token_chunks,validate,sample_images,{PLUGINS} "
    looked_at += f"--validation_count=2 --validation_images=2 --sample_prompts={prompts}"
    run = trained(tmp_path, looked_at, TRAINER=trainer)
    (first, *_) = (line["validation"]["held_out"] for line in run.metrics if "validation" in line)
    assert first["x0"] > 0 and list(run.output.glob("samples/*/*.png"))
