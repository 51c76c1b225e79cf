"""What the plan says of averages, against the sums of the plugin that keeps them."""

from types import SimpleNamespace

import pytest
import torch

from extensions import manager
from extensions.averages import pieces, profiles, room, snapshots
from extensions.plan import averages, plan
from extensions.plan import tables as plan_tables

EMA = "--extensions=unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run,ema"


def cost_of(words, gpus="4"):
    made = plan.read("25022601", {"ARGS": f"{EMA} {words}", "GPUS": gpus})
    return averages.of_run(made.asked.flags, made.asked.settings, made.asked.gpus)


@pytest.mark.parametrize(("decay", "count"), [(None, 2), (0.99, 3)])
def test_memory_and_disk_are_the_plugins_own_sums(decay, count):
    """By the meta model of one tensor, scaled: bytes a parameter are what both must agree in."""
    found = cost_of("--unet_percent=100" + (f" --ema_decay={decay}" if decay else ""))
    parameter = torch.nn.Parameter(torch.zeros(1000, dtype=torch.bfloat16))
    divided = pieces.divided([("key", 0, parameter)], 4)
    assert len(profiles.tracked(decay)) == count
    trained = found.machine / room.bytes_of(divided, count) * 1000
    assert 3.37e9 < trained < 3.39e9 and found.rank == found.machine / 4
    assert found.snapshots - 2 * trained == pytest.approx(16 * snapshots.bytes_of(1000) / 1000 * trained)
    plugin = manager.declared("ema")()
    plugin.decay = decay
    models = SimpleNamespace(
        unet_parameters=lambda: {"weight": parameter}, text_encoders=[], family="sdxl", named=dict
    )
    assert found.state == pytest.approx(plugin.state_bytes(models=models) / 1000 * trained)
    assert found.beside == pytest.approx(count * 6.94e9, rel=0.01)


def test_the_defaults_are_the_plugins():
    defaults = {flag.name: flag.default for flag in manager.flags_of(["ema"])}
    assert defaults["ema_snapshots"] == averages.SNAPSHOTS and defaults["ema"] == "each"


@pytest.mark.parametrize(
    ("words", "none"), [("--ema_snapshots=0", "snapshots"), ("--ema=last", "beside"), ("--ema=none", "beside")]
)
def test_what_is_not_asked_for_costs_nothing(words, none):
    assert getattr(cost_of(words), none) == 0


def test_a_run_without_averages_has_no_table(capsys):
    made = plan.read("25022601", {})
    assert averages.of_run(made.asked.flags, made.asked.settings, 4) is None
    plan_tables.show("25022601", {}, lambda _: None)
    assert "averages" not in capsys.readouterr().out
    plan_tables.show("25022601", {"ARGS": f"{EMA} --ema_decay=0.9"}, lambda _: None)
    said = capsys.readouterr().out
    assert "averages of the weights" in said and "16 snapshots for other lengths" in said and "ARGS:" not in said
