"""Real runs of both trainers handed on: the record holds, the card is the run's, and its command repeats it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from extensions.base.paths import ROOT
from tests.helpers.launching import launch
from tests.proofs.killing import tensors_of

RUN = "25022601"
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
PLUGINS = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run,ema,validate"
MORE = (
    f"--extensions={PLUGINS} --ema_every_n_steps=1 --validation_count=3 --validation_images=2 --validation_strata=2 "
    "--validate_every_n_steps=2"
)


def verb(name: str, logs: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"extensions.handing_on.{name}", *words]
    variables = {"LOGS": str(logs), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        ["env", *(f"{k}={v}" for k, v in variables.items()), *command],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_run_is_verified_described_and_repeated(trainer, tmp_path):
    run = launch(RUN, tmp_path, PROFILE="tiny", TRAINER=trainer, TINY_STEPS=4, ARGS=MORE)
    assert run.code == 0, run.said
    recorded = run.manifest["checkpoints"]
    assert {path.name for path in run.output.glob("*.safetensors")} == set(recorded)
    assert any("ema" in name for name in recorded)

    done = verb("verify", tmp_path / "logs", RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it can be repeated here, all that it needs is as recorded: make train" in done.stdout

    card = verb("card", tmp_path / "logs", RUN, "--out", str(tmp_path / "card"), "--licence=mit")
    assert card.returncode == 0, card.stderr
    text = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.license == "mit"
    assert run.manifest["data_fingerprint"] in text and "held_out/x0" in text and "as A1111 cuts them" in text
    captions = json.loads(Path(run.manifest["metadata"]["path"]).read_text(encoding="utf-8"))
    texts = [each[part] for each in captions.values() for part in ("caption", "tags") if each.get(part)]
    assert len(texts) > 20 and not [one for one in texts if one in text]
    assert not set(captions) & set(re.findall(r"[\w.-]+", text))

    words = shlex.split(done.stdout.splitlines()[-1].partition(": ")[2])
    variables = dict(word.split("=", 1) for word in words[2:] if not word.startswith("RUN="))
    again = launch(RUN, tmp_path / "again", **variables)
    assert again.code == 0, again.said
    wanted, found = (tensors_of(Path(each)) for each in (run.output, f"{run.output}-repeated"))
    assert wanted and found == wanted

    whole = (run.output / "last.safetensors").read_bytes()
    (run.output / "last.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = verb("verify", tmp_path / "logs", RUN)
    assert done.returncode == 1
    assert re.search(r"^checkpoint last\.safetensors +differs: recorded \w+…, here \w+…$", done.stdout, re.M)
