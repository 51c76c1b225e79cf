"""What the U-Net costs by its size, against PyTorch's count of diffusers' U-Net with the published configuration."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from extensions.data.buckets import SDXL_AREA, historical
from extensions.model.flops import unet_mflop
from tests.helpers.published_unets import SDXL_UNET


@pytest.fixture(scope="module")
def counted():
    """The operations of a forward pass through SDXL's U-Net, on the meta device."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        net = UNet2DConditionModel(**SDXL_UNET)
        more = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
        step, text = torch.empty(1), torch.empty(1, 77, 2048)

    def count(width, height):
        latents = torch.empty(1, 4, height // 8, width // 8, device="meta")
        with FlopCounterMode(display=False) as counter:
            net(latents, step, text, added_cond_kwargs=more)
        return counter.get_total_flops()

    return count


@pytest.mark.parametrize("size", [(256, 1024), (704, 1024), (1024, 1024), (64, 192)])
def test_it_is_what_pytorch_counts(size, counted):
    assert unet_mflop(*size) == counted(*size) // 10**6


def test_a_larger_bucket_costs_more_and_turned_it_costs_as_much():
    costs = {size: unet_mflop(*size) for size in historical(SDXL_AREA).buckets}
    by_area = sorted(costs, key=lambda size: size[0] * size[1])
    assert [costs[size] for size in by_area] == sorted(costs.values())
    assert all(costs[width, height] == costs[height, width] for width, height in costs)
