"""Every way to compute attention gives one result: upstream's plain and memory-efficient one, PyTorch's, xformers'.

The reference trainer has PyTorch's for all of these names, so that upstream's plain attention is the oracle of both.
"""

import copy
import importlib.util

import pytest
import torch

ENCODERS = {"sdxl": 2, "sd2": 1}
xformers = pytest.mark.skipif(
    importlib.util.find_spec("xformers") is None or not torch.cuda.is_available(),
    reason="xformers computes on GPUs only; without it --xformers becomes --sdpa",
)
pytestmark = pytest.mark.upstream


def answer(unet, width: int, vector: int | None):
    """(prediction (1, 4, 16, 24), gradient of its mean square by the text's states) for fixed inputs."""
    generator = torch.Generator().manual_seed(3)
    noisy = torch.randn(1, 4, 16, 24, generator=generator)
    states = torch.randn(1, 154, width, generator=generator).requires_grad_()
    more = [] if vector is None else [torch.randn(1, vector, generator=generator)]
    predicted = unet(noisy, torch.tensor([500]), states, *more)
    predicted = predicted if vector is not None else predicted.sample
    predicted.square().mean().backward()
    return predicted.detach(), states.grad


@pytest.mark.parametrize("way", ["mem_eff_attn", "sdpa", pytest.param("xformers", marks=xformers)])
@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_the_same_prediction_and_gradient(family, way, loaded, upstreams):
    from library import train_util

    config = loaded[family].models.unet.config
    vector = config.projection_class_embeddings_input_dim if family == "sdxl" else None
    unet = copy.deepcopy(upstreams[family][ENCODERS[family] + 1]).requires_grad_(True)
    wanted = answer(unet, config.cross_attention_dim, vector)
    train_util.replace_unet_modules(unet, way == "mem_eff_attn", way == "xformers", way == "sdpa")
    found = answer(unet, config.cross_attention_dim, vector)
    for ours, plain in zip(found, wanted, strict=True):
        assert (ours - plain).norm() <= 1e-5 * plain.norm()
        assert plain.norm() > 0
