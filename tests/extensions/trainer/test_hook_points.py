"""The hook calls that both trainers make alike."""

import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import save_file

from extensions import manager
from extensions.base.errors import UserError
from extensions.hookspecs import hookimpl
from extensions.model.models import Models
from extensions.trainer import hook_points


class Plugin:
    """Freezes what it is told to, and remembers what was saved."""

    def __init__(self, freeze=()):
        self.freeze, self.saved = list(freeze), []

    @hookimpl
    def select_parameters(self, groups):
        for parameter in self.freeze:
            parameter.requires_grad_(False)

    @hookimpl
    def checkpoint_metadata(self, optimizer_steps):
        return {"steps": str(optimizer_steps), "mine": "plugin"}

    @hookimpl
    def checkpoint_saved(self, path, optimizer_steps):
        self.saved.append((path, optimizer_steps))


@pytest.fixture
def groups():
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    return [{"params": parameters[:2], "lr": 1.0}, {"params": parameters[2:], "lr": 2.0}]


@pytest.fixture
def models():
    return Models("sdxl", torch.nn.Linear(1, 1))


def listed(monkeypatch, plugin):
    made = manager.Manager()
    made.register("plugin", plugin)
    made.names = ["plugin"]
    monkeypatch.setattr(manager, "_current", made)
    return plugin


def test_without_plugins_groups_stay(groups, models, monkeypatch):
    monkeypatch.setattr(manager, "_current", manager.Manager())
    groups[0]["params"][0].requires_grad_(False)
    assert hook_points.choose_parameters(models, groups) is groups


class Watcher:
    """Remembers the optimizer that it is told of."""

    @hookimpl
    def optimizer_built(self, models, optimizer):
        self.told = (models, optimizer)


@pytest.mark.parametrize("with_plugins", [True, False])
def test_plugins_are_told_of_the_optimizer_whose_state_keeps_its_dtypes(groups, models, monkeypatch, with_plugins):
    """Without plugins it restores as upstream's does."""
    watcher = listed(monkeypatch, Watcher())
    manager.current().names = ["plugin"] if with_plugins else []
    weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
    optimizer = torch.optim.AdamW([weight])
    hook_points.optimizer_built(models, optimizer)
    assert watcher.told == (models, optimizer)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["exp_avg"] = torch.full((2,), 1 / 3)
    optimizer.load_state_dict(state)
    assert optimizer.state[weight]["exp_avg"].dtype == (torch.float32 if with_plugins else torch.bfloat16)


def test_frozen_parameters_and_empty_groups_go(groups, models, monkeypatch):
    first, second = groups[0]["params"]
    listed(monkeypatch, Plugin([first, *groups[1]["params"]]))
    (kept,) = hook_points.choose_parameters(models, groups)
    assert kept["params"] == [second] and kept["lr"] == 1.0


def test_nothing_left_is_refused(groups, models, monkeypatch):
    listed(monkeypatch, Plugin([p for group in groups for p in group["params"]]))
    with pytest.raises(UserError, match="nothing is left to train"):
        hook_points.choose_parameters(models, groups)


def test_a_checkpoint_appears_whole_with_the_plugins_metadata(models, monkeypatch, tmp_path):
    plugin, path = listed(monkeypatch, Plugin()), tmp_path / "last.safetensors"
    with hook_points.writing_checkpoint(str(path), {"mine": "trainer", "own": "1"}, models, 7) as (
        temporary,
        metadata,
    ):
        temporary.write_text("weights")
        assert not path.exists()
    assert metadata == {"mine": "plugin", "own": "1", "steps": "7"}
    assert path.read_text() == "weights" and plugin.saved == [(str(path), 7)]


@pytest.mark.parametrize("order", [["one", "other"], ["other", "one"]])
def test_of_two_plugins_the_later_listed_one_s_metadata_win(order, models, monkeypatch, tmp_path):
    def saying(name):
        class Says:
            @hookimpl
            def checkpoint_metadata(self):
                return {"by": name, name: "1"}

        return Says

    monkeypatch.setattr(manager, "declared", {name: saying(name) for name in order}.__getitem__)
    manager.install(order)
    told = manager.current().hook.checkpoint_metadata(models=models, optimizer_steps=7)
    assert [each["by"] for each in told] == order
    with hook_points.writing_checkpoint(str(tmp_path / "a"), {"by": "trainer"}, models, 7) as (temporary, metadata):
        temporary.touch()
    assert metadata == {"by": order[1], "one": "1", "other": "1"}


def test_a_save_that_fails_leaves_the_old_file_and_tells_nobody(models, monkeypatch, tmp_path):
    plugin, path = listed(monkeypatch, Plugin()), tmp_path / "last.safetensors"
    path.write_text("old")
    with (
        pytest.raises(UserError, match="disk full"),
        hook_points.writing_checkpoint(str(path), None, models, 7) as (temporary, _),
    ):
        temporary.write_text("half")
        raise OSError("disk full")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old" and plugin.saved == []


@pytest.mark.disk_size("200k")
@pytest.mark.parametrize("how", ["asked before", "safetensors", "ckpt"])
def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(small_disk, how, monkeypatch):
    """Of both formats that upstream writes; 100 kB are there, another 100 do not fit."""
    models, write = Models("sdxl", torch.nn.Linear(160, 160)), torch.save if how == "ckpt" else save_file
    if how != "asked before":
        monkeypatch.setattr(hook_points, "require_room", lambda *_: None)
    first, second = small_disk / "at-step00000001", small_disk / "at-step00000002"
    for path in (first, second):
        with_it = pytest.raises(UserError) if path == second else nullcontext()
        with with_it as caught, hook_points.writing_checkpoint(str(path), None, models, 7) as (temporary, _):
            write(models.unet.state_dict(), temporary)
    line = str(caught.value)
    assert line.startswith(f"no checkpoint {second} at optimizer step 7: ") and "\n" not in line
    assert ("make room" in line) == (how == "asked before") and line.endswith("earlier ones and the states are whole")
    assert list(small_disk.iterdir()) == [first] and first.stat().st_size > 4 * 160 * 160


KILLED = """
import os, signal, sys
from torch import nn
from extensions.trainer import hook_points as calls
from extensions.model.models import Models
with calls.writing_checkpoint(sys.argv[1], None, Models("sdxl", nn.Linear(1, 1)), 7) as (temporary, _):
    temporary.with_name(".tmpAbC123").write_bytes(b"0" * 150_000)  # as safetensors writes
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.disk_size("200k")
def test_what_a_kill_has_left_takes_no_room_and_is_no_checkpoint(small_disk):
    models, path = Models("sdxl", torch.nn.Linear(160, 160)), small_disk / "at-step00000001.safetensors"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -signal.SIGKILL
    assert shutil.disk_usage(small_disk).free < 100_000 and not list(small_disk.glob("*.safetensors"))
    with hook_points.writing_checkpoint(str(path), None, models, 8) as (temporary, _):
        save_file(models.unet.state_dict(), temporary)
    assert list(small_disk.iterdir()) == [path]


def test_an_error_of_the_model_stays_what_it_is(models, tmp_path):
    with (
        pytest.raises(RuntimeError, match="CUDA"),
        hook_points.writing_checkpoint(str(tmp_path / "a"), None, models, 7),
    ):
        raise RuntimeError("CUDA out of memory")


def test_the_room_asked_for_follows_the_dtype_of_the_file(models):
    assert hook_points.least_bytes(models, None) == 8 and hook_points.least_bytes(models, torch.float16) == 4
