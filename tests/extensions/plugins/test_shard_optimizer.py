"""The plugin refuses what it cannot divide, and divides whatever another plugin has made of the step."""

from types import SimpleNamespace

import pytest
import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import contradictions
from extensions.flags.words import Flags
from extensions.model.models import Models
from extensions.optimizers import sharding
from extensions.optimizers.facts import OPTIMIZERS
from extensions.plugins import bf16_updates, shard_optimizer
from extensions.trainer import hook_points
from tests.helpers.optimizer_cases import built, model
from tests.helpers.plugin_flags import parsed

BY_NAME = {facts.name: facts for facts in OPTIMIZERS}
BOTH = ("shard_optimizer,bf16_updates", "bf16_updates,shard_optimizer")


def flags(extensions="shard_optimizer", **given):
    return parsed(extensions, **{"optimizer_type": "AdamW8bit", "optimizer_args": None, "seed": 3} | given)


@pytest.mark.parametrize("name", ["Prodigy", "pytorch_optimizer.Prodigy"])
def test_an_optimizer_whose_weights_may_act_on_each_other_is_refused(name):
    with pytest.raises(UserError, match="nothing is known of its state.*take shard_optimizer out") as caught:
        shard_optimizer.Plugin().check_arguments(args=flags(optimizer_type=name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("facts", OPTIMIZERS, ids=lambda facts: facts.name)
def test_every_optimizer_of_the_table_is_taken(facts):
    name, *words = facts.flag.split()
    shard_optimizer.Plugin().check_arguments(args=flags(optimizer_type=name, optimizer_args=words))


def test_zero_is_refused():
    with pytest.raises(UserError, match="--deepspeed and the plugin shard_optimizer .*ZeRO divides"):
        contradictions.check(Flags.of_text("--extensions=shard_optimizer --deepspeed"), 4)


def test_a_state_goes_on_with_or_without_it():
    assert manager.is_neutral("shard_optimizer")


@pytest.mark.parametrize("extensions", BOTH)
def test_it_counts_what_kahan_keeps(extensions, monkeypatch):
    words = {"full_bf16": True, "mixed_precision": "bf16", "bf16_updates": bf16_updates.KAHAN}
    args = flags(extensions, **words)
    plugins = manager.install(manager.listed(extensions))
    plugins.hook.check_arguments(args=args)
    net = model(torch.bfloat16)
    optimizer = built(BY_NAME["AdamW8bit"], net.parameters(), 1e-3)
    hook_points.optimizer_built(Models("sdxl", net), optimizer)
    elements = sum(parameter.numel() for parameter in net.parameters())
    plain = BY_NAME["AdamW8bit"].state_bytes([parameter.shape for parameter in net.parameters()], 2)
    assert sum(sharding.of(optimizer).costs) == plain + 2 * elements


@pytest.mark.parametrize("extensions", BOTH)
def test_it_is_outside_of_bf16_updates_in_any_order(extensions):
    """Of two ranks, the first steps its own weights by stand-ins, and nothing else."""
    words = {"full_bf16": True, "mixed_precision": "bf16", "bf16_updates": "stochastic"}
    plugins = manager.install(manager.listed(extensions))
    plugins.hook.check_arguments(args=flags(extensions, **words))
    net = model(torch.bfloat16)
    optimizer = built(BY_NAME["Lion"], net.parameters(), 1e-2)
    hook_points.optimizer_built(Models("sdxl", net), optimizer)
    shards = sharding.of(optimizer)
    shards.ranks, shards.exchange = 2, lambda: None
    start = [parameter.detach().clone() for parameter in net.parameters()]
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = [not old.equal(new) for old, new in zip(start, net.parameters(), strict=True)]
    assert moved == [owner == 0 for owner in shards.owners] and {0, 1} == set(shards.owners)
    assert len(optimizer.state) == sum(moved)
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_the_first_rank_says_what_it_keeps(capsys):
    plugin = shard_optimizer.Plugin()
    plugin.check_arguments(args=flags())
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2**18))])
    plugin.optimizer_built(optimizer=optimizer)
    plugin.training_begins(
        run=SimpleNamespace(optimizer=optimizer, accelerator=SimpleNamespace(is_main_process=True))
    )
    assert capsys.readouterr().out == "shard_optimizer: 0.00 of 0.00 GB of state on this rank\n"
