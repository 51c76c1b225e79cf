"""What a run has left goes into both formats as a person types it, and draws alike in diffusers."""

import json
import os
import subprocess

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors import safe_open

from extensions.base.paths import ROOT
from extensions.model.checkpoint import read_header
from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
UNTOUCHED = [word for name in (".installed", ".standins", ".dev") for word in ("-o", f".venv/{name}")]
V = "--v_parameterization --zero_terminal_snr --metadata_description='a fox hunt'"


def make(output, *words) -> subprocess.CompletedProcess:
    variables = os.environ | {"OUTPUT": str(output), "LOGS": str(output / "logs")}
    return subprocess.run(
        ["make", *UNTOUCHED, *words], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_tiny_run_is_handed_on(trainer, tmp_path):
    words = V if trainer == "sd-scripts" else V.partition(" --metadata")[0]
    done = launch("25022601", tmp_path, PROFILE="tiny", TINY_STEPS=2, TRAINER=trainer, ARGS=words)
    assert done.code == 0, done.said[-2000:]
    for kind in ("safetensors", "diffusers"):
        said = make(tmp_path, "export", "RUN=25022601", f"FORMAT={kind}", "DTYPE=fp32")
        assert said.returncode == 0 and "verified in diffusers" in said.stdout, said.stderr[-2000:]
    made = done.output / "export" / "25022601-last-fp32"
    file = made.with_name(f"{made.name}.safetensors")
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata["modelspec.title"] == "model_out_25022601, optimizer step 2"
    wanted = "a fox hunt" if trainer == "sd-scripts" else "a tiny run on stand-ins: TTE on"
    assert metadata["modelspec.description"].startswith(wanted)
    trained = read_header(done.output / "last.safetensors").shapes
    assert {"v_pred", "ztsnr"} <= read_header(file).shapes.keys() and trained.keys() <= read_header(
        file
    ).shapes.keys()
    scheduler = json.loads((made / "scheduler" / "scheduler_config.json").read_text())
    assert (scheduler["prediction_type"], scheduler["rescale_betas_zero_snr"]) == ("v_prediction", True)
    pipe = StableDiffusionXLPipeline.from_pretrained(made, local_files_only=True)
    drawn = pipe("a fox", width=64, height=64, num_inference_steps=2, output_type="latent").images
    assert drawn.shape == (1, 4, 8, 8) and bool(torch.isfinite(drawn).all())
    again = make(tmp_path, "export", "RUN=25022601", "FORMAT=diffusers", "DTYPE=fp32")
    assert again.returncode == 2 and again.stderr.count("error: ") == 1 and "is there already" in again.stderr
    dry = make(tmp_path, "upload", "RUN=25022601", "REPO=me/fox", f"FOLDER={made}", "PRIVATE=1")
    assert dry.returncode == 0 and "nothing has left this machine" in dry.stdout and "(private)" in dry.stdout
