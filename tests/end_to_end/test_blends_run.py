"""Blends of a tiny run and its base: a launcher that begins with one, and a scan along the line between them."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from extensions.averages import parents
from extensions.base.paths import LAUNCHERS, ROOT
from extensions.evaluation import record
from extensions.model.checkpoint import read_header
from tests.helpers.launching import Finished, launch

TINY = {"PROFILE": "tiny", "TINY_STEPS": "2", "TRAINER": "reference"}
PARENT = "25022601"
PLUGINS = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run,validate"
# Whole numbers in the file: what is measured of it is what was measured in the run.
WORDS = (
    f"--extensions={PLUGINS} --learning_rate=1e-3 --save_precision=float --gradient_accumulation_steps=1 "
    "--validation_count=4 --validation_images=3 --validation_strata=2"
)


@pytest.fixture(scope="module")
def trained(standins, tmp_path_factory) -> Finished:
    """A run of two optimizer steps that held images out."""
    done = launch(PARENT, tmp_path_factory.mktemp("blends") / "output", **TINY, ARGS=WORDS)
    assert done.code == 0, done.said[-3000:]
    return done


def launched(launcher, output, **environment) -> Finished:
    """As `launch`, of a launcher that is none of the logbook's."""
    variables = os.environ | {"OUTPUT": str(output), "LOGS": str(output / "logs")} | environment | TINY
    done = subprocess.run([str(launcher)], env=variables, capture_output=True, text=True, check=False, timeout=1200)
    folder = next(
        (line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("run folder")), None
    )
    return Finished(
        done.returncode, done.stdout + done.stderr, output / "model_out_26011101", folder and ROOT / folder
    )


@pytest.mark.slow
def test_a_scan_says_at_its_ends_what_the_run_has_measured(trained, tmp_path):
    (tmp_path / "prompts.txt").write_text("a red fox --w 64 --h 64 --s 2\n")
    words = ["--ratios=0.5,1", f"--out={tmp_path / 'scan'}", PARENT]
    logs = {"LOGS": str(trained.output.parent / "logs"), "OUTPUT": str(trained.output.parent)}
    more = logs | {"ARGS": f"--sample_prompts={tmp_path / 'prompts.txt'}", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "extensions.handing_on", "scan", *words],
        env=os.environ | more, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    measured = {each.optimizer_step: each.errors for each in record.everything(trained.output)}
    found = json.loads((tmp_path / "scan" / "scan.json").read_text())
    asked = {json.loads(line)["asked"] for line in (trained.output / record.FILE).read_text().splitlines()}
    assert [each["ratio"] for each in found["ratios"]] == [0, 0.5, 1] and {found["asked"]} == asked
    assert found["ratios"][0]["errors"] == pytest.approx(measured[0], rel=1e-6)
    assert found["ratios"][2]["errors"] == pytest.approx(measured[2], rel=1e-6)
    assert found["ratios"][1]["errors"] != found["ratios"][0]["errors"]
    assert found["b"]["run"] == PARENT and len(found["a"]["sha256"]) == 64
    assert (
        "beats both ends" in done.stdout and (tmp_path / "scan" / "samples" / "step00000000" / "01-0.5.png").is_file()
    )


@pytest.mark.slow
def test_a_run_begins_with_a_blend(standins, trained, tmp_path):
    output = trained.output.parent
    text = (LAUNCHERS / f"{PARENT}.sh").read_text().replace('"$(dirname "$0")/lib', f'"{ROOT}/train/lib')
    text = text.replace('"$BASE_215C"', f'"blend(base, {PARENT}, 0.25)"')
    launcher = tmp_path / "26011101.sh"
    launcher.write_text(text)
    launcher.chmod(0o755)

    dry = launched(launcher, output, DRY_RUN="1")
    assert dry.code == 0 and "is made on first use" in dry.said and not (output / "blends").exists()
    done = launched(launcher, output)
    assert done.code == 0, done.said[-3000:]
    (blend,) = (output / "blends").glob("*.safetensors")
    ends = [load_file(path) for path in (standins["sdxl"], trained.output / "last.safetensors")]
    for name, tensor in load_file(blend).items():
        a, b = (each[name].double() for each in ends)
        assert tensor.dtype == torch.float32
        assert torch.allclose(tensor.double(), 0.75 * a + 0.25 * b, rtol=1e-6, atol=1e-9), name
    recipe = parents.recipe_in(read_header(blend))
    assert done.manifest["base_model"]["blend"] == recipe and recipe["parents"][1]["run"] == PARENT
    assert recipe["parents"][0]["sha256"] == trained.manifest["base_model"]["sha256"]
