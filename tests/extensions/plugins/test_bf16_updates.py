"""The plugin refuses what makes it pointless, and replaces the optimizer's step where it does not."""

import argparse
from types import SimpleNamespace

import pytest
import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import contradictions
from extensions.flags.words import Flags
from extensions.model.models import Models
from extensions.plugins import bf16_updates
from extensions.trainer import hook_points
from tests.helpers.optimizer_cases import OPTIMIZERS, built, model
from tests.helpers.plugin_flags import parsed

BY_NAME = {facts.name: facts for facts in OPTIMIZERS}


def flags(**given) -> argparse.Namespace:
    known = {"full_bf16": True, "mixed_precision": "bf16", "optimizer_type": "AdamW8bit", "optimizer_args": None}
    return parsed("bf16_updates", **known | {"bf16_updates": "stochastic", "seed": 3} | given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"bf16_updates": None}, "give nearest, stochastic or kahan"),
        ({"full_bf16": False}, "without --full_bf16 has no effect"),
        ({"full_bf16": False, "bf16_updates": "nearest"}, "without --full_bf16 has no effect"),
        ({"fused_backward_pass": True, "optimizer_type": "AdaFactor"}, "--fused_backward_pass"),
        ({"fused_optimizer_groups": 10}, "--fused_optimizer_groups"),
        ({"optimizer_type": "Prodigy"}, "--optimizer_type=Prodigy.*or --bf16_updates=nearest"),
        ({"optimizer_type": "pytorch_optimizer.Prodigy"}, "nothing is known of its state"),
        ({"optimizer_args": ["bf16_stochastic_round=True"]}, "both decide the rounding"),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_loads(given, says):
    with pytest.raises(UserError, match=says) as caught:
        bf16_updates.Plugin().check_arguments(args=flags(**given))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", bf16_updates.WAYS)
def test_zero_is_refused_whatever_the_way(how):
    words = f"--extensions=bf16_updates --bf16_updates={how} --full_bf16 --mixed_precision=bf16"
    contradictions.check(Flags.of_text(words), 1)
    with pytest.raises(UserError, match="--deepspeed and the plugin bf16_updates .*ZeRO keeps fp32 master weights"):
        contradictions.check(Flags.of_text(f"{words} --deepspeed"), 1)


def test_a_way_that_there_is_not():
    with pytest.raises(UserError, match="--bf16_updates: invalid choice: 'up'"):
        parsed("bf16_updates", "--bf16_updates=up")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"bf16_updates": "nearest", "optimizer_type": "Prodigy"},
        {"use_8bit_adam": True, "optimizer_type": ""},
        *({"optimizer_type": f.flag.split()[0], "optimizer_args": f.flag.split()[1:]} for f in OPTIMIZERS),
    ],
)
def test_what_works_is_let_through(given):
    bf16_updates.Plugin().check_arguments(args=flags(**given))


class Accelerator:
    is_main_process, num_processes, device = True, 1, torch.device("cpu")


def plugged(how: str, optimizer):
    plugin = bf16_updates.Plugin()
    plugin.check_arguments(args=flags(bf16_updates=how, optimizer_type="Lion"))
    plugin.optimizer_built(optimizer=optimizer)
    return plugin


def test_nearest_leaves_the_optimizer_alone():
    optimizer = built(BY_NAME["Lion"], model(torch.bfloat16).parameters(), 1e-3)
    plugged("nearest", optimizer)
    assert "step" not in vars(optimizer)


def test_the_count_of_steps_is_the_runs(capsys):
    low = model(torch.bfloat16)
    optimizer = built(BY_NAME["Lion"], low.parameters(), 1e-3)
    plugin = plugged("kahan", optimizer)
    assert "step" in vars(optimizer) and plugin.steps() == 0
    plugin.training_begins(run=SimpleNamespace(optimizer=optimizer, accelerator=Accelerator, optimizer_steps=40_000))
    assert plugin.steps() == 40_000
    assert "bf16_updates: kahan, " in capsys.readouterr().out


def test_weights_that_stayed_in_fp32_are_refused():
    optimizer = built(BY_NAME["Lion"], model().parameters(), 1e-3)
    run = SimpleNamespace(optimizer=optimizer, accelerator=Accelerator, optimizer_steps=0)
    with pytest.raises(UserError, match="kept the weights in fp32"):
        plugged("stochastic", optimizer).training_begins(run=run)


def test_an_optimizer_that_is_not_proven_is_refused():
    with pytest.raises(UserError, match="SGD is not one of docs/optimizers.md"):
        plugged("stochastic", torch.optim.SGD(model().parameters(), lr=1))


def test_gpus_of_several_kinds_are_refused(monkeypatch):
    several = SimpleNamespace(num_processes=2, device=torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "RTX 3090")
    for kinds, refused in ((["RTX 3090"] * 2, False), (["RTX 3090", "RTX 4090"], True)):
        monkeypatch.setattr("accelerate.utils.gather_object", lambda _, kinds=kinds: kinds)
        if refused:
            with pytest.raises(UserError, match="one kind, here are RTX 3090, RTX 4090"):
                bf16_updates.require_equal_gpus(several)
        else:
            bf16_updates.require_equal_gpus(several)


def test_both_trainers_tell_of_the_optimizer_once(monkeypatch):
    made = manager.Manager(["bf16_updates"])
    made.plugins["bf16_updates"].check_arguments(args=flags(optimizer_type="Lion"))
    monkeypatch.setattr(manager, "_current", made)
    optimizer = built(BY_NAME["Lion"], model(torch.bfloat16).parameters(), 1e-3)
    hook_points.optimizer_built(Models("sdxl", None), optimizer)
    assert "step" in vars(optimizer)
