"""Launches with RAMDISK=1 on small inputs."""

import json
from pathlib import Path

from extensions.launch import ramdisk
from extensions.launch.stages import Resolved, Staged
from tests.helpers import asking

LATENTS = "--dataset_class=extensions.data.dataset.LatentsDataset"


def describe(folder, keys, caption="A cat.") -> None:
    entries = {key: {"caption": caption, "train_resolution": [64, 64]} for key in keys}
    (folder / "meta.json").write_text(json.dumps(entries))


def launch(folder, *more) -> Resolved:
    words = [f"--pretrained_model_name_or_path={folder / 'base.safetensors'}"]
    words += [f"--in_json={folder / 'meta.json'}", f"--train_data_dir={folder / 'latents'}", LATENTS, *more]
    return asking.resolved(asking.asked(*words, run="1", facts=("RAMDISK=1",)))


def stage(folder, *more) -> Staged:
    with ramdisk.staged(launch(folder, *more)) as made:
        return made


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
