"""What the folder of diffusers says of a model that predicts flow."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from extensions.handing_on.diffusers_layout import index_of, scheduler_for
from extensions.handing_on.told import Objective


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flows_scheduler_follows_the_right_velocity_to_the_image(shift, tmp_path):
    """Of one image x_0 the velocity at x_s is (x_s - x_0) / s (arXiv 2209.03003): every path ends at x_0."""
    scheduler_for(Objective("flow", False, flow_shift=shift)).save_pretrained(tmp_path)
    scheduler = DPMSolverMultistepScheduler.from_pretrained(tmp_path)
    scheduler.set_timesteps(8)
    image, latents = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    asked = []
    for timestep in scheduler.timesteps:
        asked.append(timestep.item() / 1000)
        latents = scheduler.step((latents - image) / asked[-1], timestep, latents).prev_sample
    torch.testing.assert_close(latents, image, atol=2e-2, rtol=0)
    s = [1 - number / 8 for number in range(8)]
    assert asked == pytest.approx([shift * at / (1 + (shift - 1) * at) for at in s], abs=2e-3)


def test_the_index_names_each_class():
    classes = {"text_encoder": ["transformers", "CLIPTextModel"], "scheduler": ["diffusers", "A"]}
    index = index_of("sd2", classes)
    assert index["scheduler"] == ["diffusers", "A"] and index["text_encoder"][1] == "CLIPTextModel"
    assert index["tokenizer"] == ["transformers", "CLIPTokenizer"] and "tokenizer_2" not in index
