"""One run of the logbook on stand-ins, through the launcher, each of the trainers and all its plugins."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
FACTS = json.loads((Path(__file__).parents[1] / "fixtures" / "unet_percent.json").read_text())
FROZEN = tuple(f"model.diffusion_model.{block}." for block in FACTS["variants"]["71"]["frozen"])


@pytest.fixture(scope="module", params=TRAINERS)
def run(request, tmp_path_factory, standins):
    """25022601, with spaces and non-ASCII in the output's path."""
    return launch("25022601", tmp_path_factory.mktemp("Ausgabe für 4510 3"), PROFILE="tiny", TRAINER=request.param)


def test_it_succeeds_and_says_what_it_replaced(run):
    assert run.code == 0, run.said[-3000:]
    assert "tiny: --pretrained_model_name_or_path: x215c-AstolfoMix" in run.said
    assert "tiny: --xformers: on -> (not set)" in run.said


def test_loss_falls(run):
    losses = [line["loss"] for line in run.metrics]
    quarter = len(losses) // 4
    assert sum(losses[-quarter:]) < 0.95 * sum(losses[:quarter])


def test_steps_micro_steps_and_samples(run):
    last = run.metrics[-1]
    # 23 photographs: six optimizer steps an epoch, the last filled up with the first photograph; then two more.
    assert (last["optimizer_step"], last["micro_step"], last["samples"]) == (8, 32, 32)
    assert last["lr"] == {"U-Net": 1.5e-06, "text encoder 1": 1.2e-05, "text encoder 2": 1.2e-05}


def test_run_folder_is_complete(run):
    names = {path.name for path in run.folder.iterdir()}
    assert {"command.sh", "manifest.json", "train.log", "metrics.jsonl", "tensorboard"} <= names
    assert list(run.folder.glob("tensorboard/**/events.out.tfevents.*"))
    manifest = run.manifest
    assert manifest["exit_code"] == 0 and manifest["run"] == "25022601"
    if manifest["trainer"] == "sd-scripts":
        assert len(manifest["sd_scripts_commit"]) == 40 and len(manifest["patch_series_sha256"]) == 64
    else:
        assert manifest["trainer"] == "reference" and manifest["sd_scripts_commit"] is None
    assert manifest["base_model"]["sha256"] and manifest["metadata"]["sha256"] and manifest["images"] >= 20
    assert manifest["trainable_parameters"]["U-Net"] > 0
    assert {"unet_percent", "dual_tag", "token_chunks", "save_states", "record_run"} <= set(manifest["extensions"])


def test_log_names_percentage_and_frozen_blocks(run):
    log = (run.folder / "train.log").read_text()
    assert "71.16 % of 2,567,463,684" in log
    assert all(block in log for block in FACTS["variants"]["71"]["frozen"])


def test_log_ends_with_what_was_cut_and_the_chunks_used(run):
    log = (run.folder / "train.log").read_text()
    head = r"^token_chunks: ([\d,]+) texts read, 0 cut; 0 of ([\d,]+) tokens lost \(0.0%\); chunks used:$"
    texts, tokens = (int(number.replace(",", "")) for number in re.search(head, log, re.M).groups())
    bars = re.findall(r"^token_chunks: +(\d+) chunks? +([\d,]+) ", log, re.M)
    assert texts == sum(int(count.replace(",", "")) for _, count in bars)
    # The data loader reads ahead of the 32 samples that were trained.
    assert 32 <= texts <= 48 and tokens > 75 * texts and len(bars) > 2


def test_checkpoint_carries_the_runs_identity(run):
    with safe_open(run.output / "last.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["sdxl_trainer.run"] == "25022601"
    assert metadata["sdxl_trainer.trainer"] == run.manifest["trainer"]
    assert metadata.get("sdxl_trainer.patch_series_sha256") == run.manifest["patch_series_sha256"]
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    assert metadata["sdxl_trainer.optimizer_steps"] == "8"
    assert metadata["modelspec.title"] == "model_out_25022601, optimizer step 8"
    assert oct((run.output / "last.safetensors").stat().st_mode & 0o444) == "0o444"


def test_frozen_blocks_are_bit_identical_and_others_moved(run, standins):
    base, trained = load_file(standins["sdxl"]), load_file(run.output / "last.safetensors")
    unet = {name for name in trained if name.startswith("model.diffusion_model.")}
    assert unet == {name for name in base if name.startswith("model.diffusion_model.")}
    frozen = {name for name in unet if name.startswith(FROZEN)}
    assert frozen and not [name for name in frozen if not torch.equal(trained[name], base[name])]
    moved = {n for n in unet if not torch.equal(trained[n], base[n].to(torch.bfloat16).to(torch.float16))}
    assert "model.diffusion_model.out.2.weight" in moved


def test_checkpoint_loads_in_diffusers(run):
    """diffusers' own conversion, and its own classes at the sizes of the file."""
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    state = load_file(run.output / "last.safetensors")
    config = dict(
        sample_size=32, block_out_channels=(32, 64, 128), transformer_layers_per_block=(1, 1, 2),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(1, 1, 2),
        cross_attention_dim=128, addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=1600, use_linear_projection=True,
    )  # fmt: skip
    unet = UNet2DConditionModel(**config)
    unet.load_state_dict(convert_ldm_unet_checkpoint(state, unet.config))
    size = {"text_embeds": torch.zeros(1, 64), "time_ids": torch.zeros(1, 6)}
    out = unet(torch.zeros(1, 4, 32, 32), 500, torch.zeros(1, 77, 128), added_cond_kwargs=size).sample
    assert torch.isfinite(out).all()


def test_a_second_run_refuses_to_write_over_the_first(run):
    again = launch("25022601", run.output.parent, PROFILE="tiny")
    assert again.code == 2
    assert "FORCE=1" in again.said and "Traceback" not in again.said


def test_the_submodule_and_the_repository_stay_clean(run):
    from extensions.base.paths import ROOT, SUBMODULE
    from extensions.upstream import git

    assert git.output(SUBMODULE, "status", "--porcelain") == ""
    assert "sd-scripts" not in git.output(ROOT, "status", "--porcelain")
