"""Models under names that do not depend on the trainer."""

import pytest
import torch
from torch.nn import Linear, ModuleDict

from extensions.model.models import Models


def test_names_of_the_models_of_each_family():
    unet, one, two = (Linear(1, 1) for _ in range(3))
    named = Models("sdxl", unet, [one, two]).named()
    assert list(named) == ["U-Net", "text encoder 1", "text encoder 2"]
    assert list(named.values()) == [unet, one, two]
    assert list(Models("sd2", unet, [one], vae=two).named()) == ["U-Net", "text encoder 1"]


def test_a_u_net_with_its_own_names_keeps_them_in_their_order():
    unet = ModuleDict({"out": Linear(1, 1), "input_blocks": Linear(2, 2)})
    found = Models("sdxl", unet).unet_parameters()
    assert list(found) == ["out.weight", "out.bias", "input_blocks.weight", "input_blocks.bias"]
    assert all(found[name] is parameter for name, parameter in unet.named_parameters())


def test_diffusers_names_become_those_of_the_file_in_its_order():
    """The parameters stay themselves: what is frozen by one name is frozen under the other."""
    unet = ModuleDict({"conv_out": Linear(1, 1, bias=False), "conv_in": Linear(2, 2, bias=False)})
    names = {"conv_in.weight": "input_blocks.0.0.weight", "conv_out.weight": "out.2.weight"}
    found = Models("sd2", unet, unet_names=names).unet_parameters()
    assert list(found) == ["input_blocks.0.0.weight", "out.2.weight"]
    found["out.2.weight"].requires_grad_(False)
    assert [name for name, p in unet.named_parameters() if not p.requires_grad] == ["conv_out.weight"]


def test_a_name_that_the_u_net_does_not_have_is_ours_to_mend():
    with pytest.raises(KeyError):
        Models("sd2", Linear(1, 1), unet_names={"no such": "x"}).unet_parameters()


@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_both_kinds_of_names_name_all_of_a_stand_in(family, standins):
    from extensions.model.checkpoint import UNET, read_header
    from extensions.reference import models

    loaded = models.load(str(standins[family]), family, torch.float32).models
    header = read_header(standins[family])
    in_file = {n.removeprefix(UNET): shape for n, shape in header.shapes.items() if n.startswith(UNET)}
    assert {name: tuple(p.shape) for name, p in loaded.unet_parameters().items()} == in_file
