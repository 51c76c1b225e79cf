"""The reference trainer where upstream is not, beside upstream, and on several processes."""

import os
import re
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import load_file

from extensions.base.paths import ROOT
from extensions.model.checkpoint import read_header
from extensions.model.models import Models
from extensions.model.unet_names import ldm_of_diffusers
from extensions.reference import models
from extensions.upstream import git, shapes
from tests.helpers.launching import launch
from tests.proofs import parity

LOSS = re.compile(r"\[hook\] micro_step_ended\(run=Run, loss=([0-9.e-]+)")
NO_ROUTE = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "url.file:///nowhere/.insteadOf",
    "GIT_CONFIG_VALUE_0": "https://github.com/",
}


@pytest.fixture
def clone(tmp_path):
    """A clone of this repository that cannot reach upstream, with this installation and these stand-ins."""
    folder = tmp_path / "clone"
    assert git.fetch(tmp_path, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)).returncode == 0
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def train(clone, run, **environment):
    variables = os.environ | NO_ROUTE | {"OUTPUT": str(clone / "output")} | environment
    command = ["bash", str(clone / "train" / f"{run}.sh")]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_without_a_route_to_upstream_a_tiny_run_trains_and_a_full_one_refuses(clone, standins):
    for kind in ("models", "datasets"):
        source = ROOT / "sd-scripts-runtime" / kind / "standins"
        shutil.copytree(source, clone / "sd-scripts-runtime" / kind / "standins")
    tiny = train(clone, "24122001", PROFILE="tiny", TINY_STEPS="2")
    assert tiny.returncode == 0, tiny.stderr[-2000:]
    told = [line for line in tiny.stderr.splitlines() if line.startswith("trainer: ")]
    assert len(told) == 2 and "reference trainer instead of sd-scripts" in told[0]
    assert load_file(clone / "output" / "model_out_24122001" / "last.safetensors")
    shown = train(clone, "24122001", PROFILE="tiny", DRY_RUN="1")
    assert "-m extensions.reference fine_tune.py" in shown.stdout and "trainer: reference" in shown.stderr
    full = train(clone, "24122001", DRY_RUN="1")
    assert full.returncode == 2 and "TRAINER=reference" in full.stderr and "Traceback" not in full.stderr


@pytest.fixture(scope="module", params=["25022601", "24122001"])
def beside(request, patched, standins, tmp_path_factory):
    """(SDXL or SD2, folder of both checkpoints, what sd-scripts did, what the reference trainer did)."""
    case = next(case for case in parity.CASES if case.run == request.param)
    folder = tmp_path_factory.mktemp(case.run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "MICRO_STEPS", 4)
        theirs, ours = parity.both(case, folder, patched)
    return "sd2" if case.run == "24122001" else "sdxl", folder, theirs, ours


@pytest.mark.upstream
def test_both_trainers_call_the_same_hooks_in_the_same_order(beside):
    _, _, theirs, ours = beside
    assert ours.hooks == theirs.hooks
    assert {"compose_text", "models_loaded", "select_parameters", "epoch_batches", "run_ended"} <= set(ours.hooks)
    assert (
        ours.hooks.index("select_parameters")
        < ours.hooks.index("optimizer_built")
        < ours.hooks.index("training_begins")
    )
    assert ours.losses == pytest.approx(theirs.losses, rel=parity.LOSSES)


@pytest.mark.upstream
def test_both_trainers_save_the_same_tensors(beside):
    _, _, theirs, ours = beside
    shapes, wanted = ({n: (t.shape, t.dtype) for n, t in each.weights.items()} for each in (ours, theirs))
    assert shapes == wanted
    carried = [name for name in wanted if name.startswith("first_stage_model.") or ".resblocks.23." in name]
    assert carried and all(torch.equal(ours.weights[name], theirs.weights[name]) for name in carried)


@pytest.mark.upstream
@pytest.mark.parametrize("writer", ["reference", "sd-scripts"])
def test_a_checkpoint_of_either_trainer_loads_in_both_as_the_same_model(beside, writer):
    family, folder, _, _ = beside
    path = folder / writer / "last.safetensors"
    ours = models.load(str(path), family, torch.float32).models
    theirs = load_with_upstream(path, family)
    for name, parameter in theirs.unet_parameters().items():
        assert torch.equal(ours.unet_parameters()[name].flatten(), parameter.flatten()), name
    for mine, other in zip(ours.text_encoders, theirs.text_encoders, strict=True):
        wanted = other.state_dict()
        assert mine.state_dict().keys() == wanted.keys()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in mine.state_dict().items())


def load_with_upstream(path, family):
    """The models as sd-scripts' own loader gives them."""
    from library import model_util, sdxl_model_util

    header = read_header(path)
    if family == "sdxl":
        with shapes.sized_for_sdxl(header):
            loaded = sdxl_model_util.load_models_from_sdxl_checkpoint("sdxl", str(path), "cpu")
        return Models("sdxl", loaded[3], list(loaded[:2]))
    with shapes.sized_for_sd2(header):
        encoder, _, unet = model_util.load_models_from_stable_diffusion_checkpoint(
            True, str(path), unet_use_linear_projection_in_v2=False
        )
    return Models("sd2", unet, [encoder], None, ldm_of_diffusers(header.shapes))


def test_two_processes_train_what_one_trains_on_the_same_global_batch(standins, tmp_path):
    """Two processes with accumulation 4 against one with 8: sixteen micro-steps, two optimizer steps."""
    common = {"PROFILE": "tiny", "TINY_STEPS": 2, "TRAINER": "reference", "EXTENSIONS_TRACE": "1"}
    two = launch("25022601", tmp_path / "two", GPUS=2, **common)
    one = launch("25022601", tmp_path / "one", ARGS="--gradient_accumulation_steps=8", **common)
    assert (two.code, one.code) == (0, 0), two.said[-2000:] + one.said[-2000:]
    losses = [sorted(float(loss) for loss in LOSS.findall(run.said)) for run in (two, one)]
    assert len(losses[0]) == 16
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert two.manifest["processes"] == 2 and two.metrics[-1]["samples"] == 16
    assert len(re.findall(r"^token_chunks: .* texts read on process [01] of 2, 0 cut", two.said, re.M)) == 2
