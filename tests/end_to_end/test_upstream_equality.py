"""With no plugins the patched trainer is upstream, bit for bit; and upstream's own tests pass in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from extensions.base.paths import ROOT

pytestmark = pytest.mark.upstream
FACTS = json.loads((Path(__file__).parents[1] / "fixtures" / "unet_percent.json").read_text())
FROZEN = tuple(f"model.diffusion_model.{block}." for block in FACTS["variants"]["71"]["frozen"])
DRIVER = Path(__file__).parents[1] / "helpers" / "pristine_driver.py"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six images with metadata as upstream's own data set reads them."""
    folder = tmp_path_factory.mktemp("images")
    metadata = {}
    for number in range(6):
        size = (256, 256) if number % 2 else (320, 192)
        noise = torch.randint(0, 255, (*size[::-1], 3), generator=torch.Generator().manual_seed(number))
        path = folder / f"{number}.png"
        Image.fromarray(noise.to(torch.uint8).numpy()).save(path)
        metadata[str(path)] = {"tags": f"noise, number {number}", "caption": "Noise.", "image_size": list(size)}
    (folder / "meta.json").write_text(json.dumps(metadata))
    return folder


def flags(images, standins, output):
    return [
        f"--pretrained_model_name_or_path={standins['sdxl']}", f"--tokenizer_cache_dir={standins['tokenizers']}",
        f"--in_json={images / 'meta.json'}", f"--train_data_dir={images}", f"--output_dir={output}",
        "--resolution=256", "--enable_bucket", "--cache_latents", "--train_batch_size=2", "--seed=1",
        "--learning_rate=1e-3", "--train_text_encoder", "--learning_rate_te1=1e-4", "--learning_rate_te2=1e-4",
        "--gradient_accumulation_steps=2", "--max_train_epochs=2", "--optimizer_type=AdamW", "--sdpa",
        "--mixed_precision=no", "--save_precision=float", "--save_model_as=safetensors",
        "--max_data_loader_n_workers=0",
    ]  # fmt: skip


def train(command, images, standins, output, *more):
    variables = os.environ | {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *command, *flags(images, standins, output), *more]
    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(output / "last.safetensors")


def test_no_plugins_equal_pristine_upstream(images, standins, patched, pristine, tmp_path):
    """The pristine side builds the small model by its own constants, so that our size reading is checked too."""
    ours = train(["-m", "extensions.upstream", str(patched), "sdxl_train.py"], images, standins, tmp_path / "ours")
    theirs = train([str(DRIVER), str(pristine)], images, standins, tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert different == []
    base = load_file(standins["sdxl"])
    assert not torch.equal(ours["model.diffusion_model.out.2.weight"], base["model.diffusion_model.out.2.weight"])


def test_frozen_parameters_stay_and_all_others_move(images, standins, patched, tmp_path):
    """In fp32 at a high rate, where nothing that trains can round to its old value."""
    command = ["-m", "extensions.upstream", str(patched), "sdxl_train.py"]
    plugin = ("--extensions=unet_percent", "--unet_percent=71")
    trained = train(command, images, standins, tmp_path, *plugin)
    base = load_file(standins["sdxl"])
    unet = [name for name in trained if name.startswith("model.diffusion_model.")]
    moved = {name for name in unet if not torch.equal(trained[name], base[name].float())}
    frozen = {name for name in unet if name.startswith(FROZEN)}
    assert moved == set(unet) - frozen and frozen


def test_upstreams_own_tests_pass_in_the_patched_tree(patched):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=patched, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
