"""metrics.jsonl, counts and the checkpoint's identity, around a run of a few steps."""

import argparse
import json
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from extensions.base.errors import UserError
from extensions.loop import Run
from extensions.model.models import Models
from extensions.plugins import record_run


def recorded(folder):
    """A plugin after three optimizer steps of two micro-steps each."""
    unet, encoder = torch.nn.Linear(2, 2), torch.nn.Linear(3, 1)
    unet.bias.requires_grad_(False)
    groups = [{"params": [unet.weight], "lr": 1.0}, {"params": list(encoder.parameters()), "lr": 0.5}]
    args = argparse.Namespace(run_folder=folder, max_grad_norm=1.0)
    run = Run(args, Accelerator(cpu=True), torch.optim.SGD(groups), None, None)
    plugin = record_run.Plugin()
    plugin.check_arguments(args=args)
    plugin.models_loaded(models=Models("sdxl", unet, [encoder]))
    plugin.training_begins(run=run)
    for step in range(1, 4):
        for loss in (step, step + 1):
            run.micro_steps, run.samples = run.micro_steps + 1, run.samples + 2
            plugin.micro_step_ended(run=run, loss=float(loss), batch={})
        run.optimizer_steps = step
        plugin.optimizer_step_ended(run=run)
    return plugin


def test_metrics_count_steps_micro_steps_and_samples_apart(tmp_path):
    recorded(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["optimizer_step"] for line in lines] == [1, 2, 3]
    assert [line["micro_step"] for line in lines] == [2, 4, 6]
    assert [line["samples"] for line in lines] == [4, 8, 12]
    assert [line["loss"] for line in lines] == [1.5, 2.5, 3.5]
    assert lines[0]["lr"] == {"U-Net": 1.0, "text encoder 1": 0.5}
    assert lines[0]["peak_memory_bytes"] > 10_000_000


def test_what_others_measure_has_lines_and_trackers_of_its_own(tmp_path):
    """Trackers begin with the first micro-step: what is measured before waits for them."""
    plugin, told = recorded(tmp_path), []
    accelerator = SimpleNamespace(trackers=[], log=lambda numbers, step: told.append((step, numbers)))
    run = SimpleNamespace(optimizer_steps=3, accelerator=accelerator)
    plugin.figures_measured(run=run, figures={"looks": {"x0": 0.5, "of": {"a": 1}, "texts": ["a"], "ok": True}})
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1]) == {
        "optimizer_step": 3,
        "looks": {"x0": 0.5, "of": {"a": 1}, "texts": ["a"], "ok": True},
    }
    assert not told
    run.accelerator.trackers = ["tensorboard"]
    run.optimizer_steps = 4
    plugin.micro_step_ended(run=run, loss=1.0, batch={})
    plugin.figures_measured(run=run, figures={"looks": {"x0": 0.25}})
    assert told == [(3, {"looks/x0": 0.5, "looks/of/a": 1}), (4, {"looks/x0": 0.25})]


def test_manifest_gets_counts_and_keeps_what_it_had(tmp_path):
    (tmp_path / "manifest.json").write_text('{"run": "1", "patch_series_sha256": "ab"}')
    plugin = recorded(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["run"] == "1"
    assert manifest["trainable_parameters"] == {"U-Net": 4, "text encoder 1": 4}
    identity = plugin.checkpoint_metadata(optimizer_steps=3)
    assert identity == {
        "sdxl_trainer.run": "1",
        "sdxl_trainer.patch_series_sha256": "ab",
        "sdxl_trainer.optimizer_steps": "3",
        "modelspec.title": "model_out_1, optimizer step 3",
    }


@pytest.mark.parametrize("flag", ["metadata_title", "output_name"])
def test_a_person_titles_their_own_checkpoints(tmp_path, flag):
    (tmp_path / "manifest.json").write_text(json.dumps({"run": "1", "flags": {flag: "mine"}}))
    assert "modelspec.title" not in recorded(tmp_path).checkpoint_metadata(optimizer_steps=3)


def test_a_disk_that_fills_under_the_metrics_is_one_line(monkeypatch):
    plugin = record_run.Plugin()
    plugin.metrics = open("/dev/full", "a", encoding="utf-8", buffering=1)
    monkeypatch.setattr(plugin, "line", lambda run: {"loss": 1.0})
    with pytest.raises(UserError, match="^/dev/full cannot be written .*make room, then RESUME=auto goes on"):
        plugin.optimizer_step_ended(None)
    plugin.run_ended(None)


def test_a_mixtures_losses_are_told_by_source():
    found = record_run.means_by(["a", "b", "a", ""], [1.0, 2.0, 4.0, 8.0])
    assert found == {"a": 2.5, "b": 2.0}
    assert record_run.means_by(["", ""], [1.0, 2.0]) == {}
