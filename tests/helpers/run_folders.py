"""Writes run folders as a launch and its plugins leave them, without training: metrics, manifest, log, samples."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path

from PIL import Image, PngImagePlugin

from extensions.base import manifest
from extensions.base.manifest import Manifest

STRATA = ["-6 to -2", "-2 to 2", "2 to 6"]
FLAGS = {
    "pretrained_model_name_or_path": "/models/base.safetensors", "in_json": "/data/meta_lat.json",
    "train_data_dir": "/data", "max_train_steps": "400", "train_batch_size": "1", "gradient_accumulation_steps": "4",
    "learning_rate": "1.5e-06", "optimizer_type": "AdamW8bit", "mixed_precision": "bf16", "full_bf16": True,
    "extensions": "unet_percent,dual_tag,token_chunks,record_run", "unet_percent": "71",
}  # fmt: skip


def training_line(step: int, loss: float, **more) -> dict:
    """A line of metrics.jsonl as record_run writes one."""
    return {
        "optimizer_step": step, "micro_step": 4 * step, "samples": 4 * step, "loss": loss,
        "lr": {"U-Net": 1.5e-06, "text encoder 1": 1.2e-05, "text encoder 2": 1.2e-05},
        "images_per_second": 1.3, "peak_memory_bytes": 1_761_275_904, **more,
    }  # fmt: skip


def validation_line(step: int, x0: float, first: float) -> dict:
    """A line of metrics.jsonl as a plugin that validates adds one."""
    held = {
        "x0": x0,
        "loss": 1.4 * x0,
        "error": 0.004,
        "strata": STRATA,
        "x0_by_stratum": [x0 * k for k in (2, 1, 0.5)],
    }
    texts = {"tags": 1.05 * x0, "caption": 1.02 * x0, "empty": 1.2 * x0}
    moved = {"x0": x0 - first, "error": 0.0007}
    return {
        "optimizer_step": step,
        "validation": {
            "held_out": held | texts, "training": {"x0": 0.97 * x0, "loss": 1.3 * x0, "error": 0.004},
            "difference_to_first": moved, "difference_to_previous": moved,
        },
    }  # fmt: skip


def lines(first: int, last: int, seed: int = 0, every: int = 0) -> list[dict]:
    """The lines of a launch from one optimizer step to another. every: steps between validations, 0 for none."""
    draw, found = random.Random(seed), []
    for step in range(first, last + 1):
        if every and (step == first or step % every == 0):
            found.append(
                validation_line(step - (step == first), 0.2 + 0.1 * math.exp(-step / 200) + 0.001 * seed, 0.3)
            )
        loss = 0.1 + 0.05 * math.exp(-step / 100) + 0.02 * draw.random()
        found.append(training_line(step, loss, grad_norm=0.5 + draw.random()))
    return found


def folder_of(logs: Path, of: str, name: str, found: list[dict], **record) -> Path:
    """One launch. record: what its manifest says otherwise."""
    folder = logs / of / name
    folder.mkdir(parents=True)
    started = f"{name[:4]}-{name[4:6]}-{name[6:8]}T{name[9:11]}:{name[11:13]}:{name[13:15]}+00:00"
    known = dict(
        run=of, started=started, profile="full", trainer="reference", script="sdxl_train.py", flags=FLAGS,
        extensions=FLAGS["extensions"].split(","), images=1600, hardware={"gpus": ["RTX 3090"]}, exit_code=0,
        ended=started, packages={"torch": "2.14.1"}, base_model={"sha256": "ab" * 32}, metadata={"sha256": "cd" * 32},
    )  # fmt: skip
    manifest.write(folder, replace(Manifest(), **known | record))
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in found), encoding="utf-8")
    (folder / "train.log").write_text("running training\n", encoding="utf-8")
    return folder


def grid(folder: Path, step: int, said: str = "") -> Path:
    """A grid of samples at an optimizer step."""
    path = folder / "samples" / f"step{step:08d}.png"
    path.parent.mkdir(exist_ok=True)
    information = PngImagePlugin.PngInfo()
    if said:
        information.add_text("parameters", said)
    colour = (step % 200, 90, 200 - step % 200)
    Image.new("RGB", (384, 128), colour).save(path, pnginfo=information)
    return path


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}\u202e\x1b[31m$\\frac$"


def logbook(logs: Path) -> Path:
    """Ten records: a resumed run, a roll-back, corrupt samples, a tiny one, one without an end, hostile names."""
    folder_of(logs, "25022501", "20260301T100000Z", lines(1, 300, 1, 50), exit_code=75)
    second = folder_of(logs, "25022501", "20260302T100000Z", lines(251, 400, 1, 50))
    for step in (100, 400):
        grid(second, step, f"a photograph of {HOSTILE}\nNegative prompt: none\nSteps: 20, Sampler: Euler, Seed: 1")
    back = folder_of(logs, "25022601", "20260303T100000Z", lines(1, 120, 2, 50), exit_code=76, parent="25022501")
    (back / "rollback.json").write_text(json.dumps({"optimizer_step": 121, "samples": ["a", HOSTILE], "state": "/x"}))
    folder_of(logs, "25022601", "20260303T110000Z", lines(101, 400, 2, 50), parent="25022501")
    bad = folder_of(logs, "25030601", "20260304T100000Z", lines(1, 90, 3), exit_code=None, ended=None)
    (bad / "bad_samples.txt").write_text('b1\n"c\\u001b"\n', encoding="utf-8")
    (bad / "train.log").write_text(
        "steps:  10%|#| 40/400 [00:10<01:30, avr_loss=0.1]bad_sample: skipped 'b1' (process 0): truncated\n"
    )
    folder_of(logs, "25022601", "20260305T100000Z", lines(1, 8, 4), profile="tiny", hardware={"gpus": []})
    for number in range(1, 6):
        parent = f"run {number - 1}" if number > 1 else "25022601"
        folder_of(logs, f"run {number}", f"2026040{number}T100000Z", lines(1, 60, number), parent=parent)
    folder_of(
        logs, HOSTILE.replace("/", "|"), "20260410T100000Z", lines(1, 70, 9, 20), flags=FLAGS | {"comment": HOSTILE}
    )
    return logs
