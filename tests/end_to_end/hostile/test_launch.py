"""Hands and disks around a launch: one line, nothing left behind; or the run goes on, and its log is whole."""

import subprocess
import sys

import pytest

from extensions.base.paths import LAUNCHERS
from extensions.launch import run_folder
from tests.helpers.launching import launch


def test_a_base_model_that_is_missing_leaves_nothing(tmp_path):
    run = launch("25022601", tmp_path / "output", CPU=1, BASE_215C=tmp_path / "no.safetensors", TRAINER="reference")
    assert run.code == 2 and run.said.count("error: ") == 1 and "base model" in run.said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"k": 1}'])
def test_kept_hashes_that_are_damaged_are_made_again(tmp_path, monkeypatch, content):
    monkeypatch.setattr(run_folder, "RUNTIME", tmp_path)
    model = tmp_path / "model"
    model.write_bytes(b"weights")
    good = run_folder.fingerprint(model)
    (tmp_path / "sha256.json").write_bytes(content)
    assert run_folder.fingerprint(model) == good == run_folder.fingerprint(model)


LOGS_FULL = """
import sys
from pathlib import Path
from extensions.launch import child
talk = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\\n"
talk += "while True: print('x' * 1000, flush=True); time.sleep(0.005)"
log = Path(sys.argv[1]) / "train.log"
sys.exit(child.run([sys.executable, "-c", talk], {}, log))
"""


def test_a_disk_that_fills_under_the_log_stops_the_run_at_its_next_step(small_disk):
    done = subprocess.run(
        [sys.executable, "-c", LOGS_FULL, small_disk], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 75
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and "train.log cannot be written (No space left on device)" in lines[0]
    assert "Traceback" not in done.stderr and (small_disk / "train.log").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["| head -1", ">&-", ">&- 2>&-", "> /dev/full"])
def test_a_run_whose_output_nobody_takes_goes_on(standins, tmp_path, redirection):
    command = f'PROFILE=tiny TRAINER=reference TINY_STEPS=2 "$0" {redirection}'
    environment = {"OUTPUT": str(tmp_path / "o"), "LOGS": str(tmp_path / "logs")}
    subprocess.run(
        ["env", *[f"{k}={v}" for k, v in environment.items()], "bash", "-c", command, LAUNCHERS / "25022601.sh"],
        capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    (folder,) = (tmp_path / "logs" / "25022601").iterdir()
    assert "trainable: U-Net" in (folder / "train.log").read_text()
    assert '"exit_code": 0' in (folder / "manifest.json").read_text()
    assert list((tmp_path / "o" / "model_out_25022601").glob("*.safetensors"))
