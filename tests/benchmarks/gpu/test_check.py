"""All stages at tiny size on a CPU, as CI runs them; the cheap ones every day."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.gpu.stages import STAGES
from benchmarks.gpu.variants import VARIANTS
from extensions.base.paths import ROOT
from extensions.optimizers.facts import OPTIMIZERS

CHEAP = ("environment", "model", "optimizers", "states", "loader")


def checked(out, *more: str) -> dict:
    """Run it; its report."""
    words = [sys.executable, "-m", "benchmarks.gpu", "--device=cpu", "--size=tiny", f"--out={out}", *more]
    done = subprocess.run(words, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return json.loads(out.read_text())


@pytest.mark.slow  # CI runs all of them by the verb
def test_the_cheap_stages(tmp_path):
    found = checked(tmp_path / "out.json", f"--only={','.join(CHEAP)}")["stages"]
    assert {name: stage["outcome"] for name, stage in found.items()} == dict.fromkeys(CHEAP, "passed")
    figures = found["optimizers"]["figures"]
    assert all(
        f"{facts.name}, {way}" in figures for facts in OPTIMIZERS for way in ("nearest", "stochastic", "kahan")
    )
    assert found["optimizers"]["checks"]["AdamW4bit, nearest steps"]
    assert found["loader"]["figures"]["0 workers"]["images_per_second"] > 0


@pytest.mark.slow
@pytest.mark.upstream
def test_all_stages(tmp_path):
    report = checked(tmp_path / "out.json", "--seconds=1500")
    stages = report["stages"]
    expected = {each.name: "passed" for each in STAGES} | {"compiled-warm": "skipped"}
    assert {name: stage["outcome"] for name, stage in stages.items()} == expected
    for name in ("ours", "pristine", "without-plugins"):
        assert stages[name]["figures"]["images_per_second"] > 0
    assert stages["synchronisations"]["figures"]["scalar reads an optimizer step, pristine"] >= 4
    assert set(stages["variants"]["figures"]) >= {variant.name for variant in VARIANTS}
    # A CPU repeats its bits, and so a resumed run's weights are the unbroken one's.
    apart = stages["resumed"]["figures"]["weights after the next update, apart"]
    assert [each["tensors"] for each in apart.values()] == [0, 0, 0]
    assert stages["exactness"]["figures"]["as torch does by itself"]["tensors"] == 0
    assert stages["exactness"]["figures"]["as torch does by itself"]["moved_tensors"] > 500
    assert stages["compiled-cold"]["figures"]["graphs"] > 0
