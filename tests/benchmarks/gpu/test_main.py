"""The check goes on whatever a stage does, keeps its time, writes after each stage, and says how it ended."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.stages import CACHES, STAGES, Stage
from extensions.base.errors import UserError
from extensions.base.paths import ROOT

KEYS = {"benchmark", "version", "device", "size", "began", "commit", "seconds", "total_seconds", "stages"}
STAGE_KEYS = {"outcome", "why", "seconds", "figures", "checks"}
CPU = ["--device=cpu", "--size=tiny"]


def stage(name: str, seconds: int = 60, least: int = 1, alone: str = "") -> Stage:
    return Stage(name, f"tests.benchmarks.gpu.misbehaving:{name}", seconds, least, alone)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run these stages; (exit code, the report)."""
    work = tmp_path / "work"
    work.mkdir()

    def check(*stages: Stage, more: tuple[str, ...] = ()):
        before = dict(os.environ)
        monkeypatch.setattr(gpu, "STAGES", stages)
        monkeypatch.setattr(gpu, "TINY_SECONDS", 15)
        try:
            code = gpu.main([*CPU, f"--out={tmp_path / 'out.json'}", f"--work={work}", *more])
        finally:
            os.environ.clear()
            os.environ.update(before)
        assert not [path for path in work.iterdir() if path.is_dir()]  # what was made is removed
        return code, json.loads((tmp_path / "out.json").read_text())

    return check


def runs(pid: int) -> bool:
    """Tell whether a process is there and no zombie that nobody has asked after."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def outcomes(report: dict) -> dict[str, str]:
    return {name: found["outcome"] for name, found in report["stages"].items()}


def test_a_stage_that_fails_or_dies_takes_nothing_along(run, capsys):
    names = ("sound", "raises", "wrong", "dies", "is_left_out", "has_no_room", "tells_its_process")
    code, report = run(*map(stage, names))
    assert code == 1 and set(report) == KEYS
    assert all(set(found) == STAGE_KEYS for found in report["stages"].values())
    assert list(outcomes(report).values()) == [
        "passed", "failed", "failed", "failed", "skipped", "out of memory", "passed",
    ]  # fmt: skip
    found = report["stages"]
    assert found["raises"]["figures"] == {"before": 1} and "what was wrong" in found["raises"]["why"]
    assert found["dies"]["figures"] == {"before": 2} and "SIGKILL" in found["dies"]["why"]
    assert found["wrong"]["why"] == "not so: one and one are three"
    assert found["is_left_out"]["why"] == "there is none here"
    table = capsys.readouterr().out
    assert table.index("images: 2 a second") < table.index("verdicts") < table.index("2 passed, 3 failed")


def test_what_was_left_out_for_a_reason_is_no_failure(run):
    code, report = run(stage("sound"), stage("is_left_out"), stage("has_no_room"))
    assert code == 0 and "failed" not in outcomes(report).values()


def test_a_stage_that_hangs_is_ended_with_what_it_started(run, tmp_path):
    began = time.monotonic()
    code, report = run(stage("hangs"), stage("sound"), more=("--seconds=10",))
    assert time.monotonic() - began < 40
    assert outcomes(report) == {"hangs": "out of time", "sound": "skipped"} and code == 0
    assert (
        report["stages"]["hangs"]["figures"] == {"before": 3}
        and "needs 1 or more" in report["stages"]["sound"]["why"]
    )
    pids = (tmp_path / "work" / "pids").read_text().split()
    assert len(pids) == 2 and not any(runs(int(pid)) for pid in pids)


def test_a_stage_that_takes_longer_than_any_should_has_failed(run, monkeypatch):
    monkeypatch.setattr(gpu, "TINY_LEAST", 0)
    code, report = run(stage("hangs"), stage("sound"))
    assert outcomes(report) == {"hangs": "failed", "sound": "passed"} and code == 1
    assert report["stages"]["hangs"]["why"].startswith("it takes longer than 15 s")


def test_stages_share_a_process_unless_they_are_alone(run):
    one = stage("tells_its_process")
    two = Stage("again", one.function, 60, 1)
    three = Stage("alone", one.function, 60, 1, CACHES)
    _, report = run(one, two, three)
    first, again, alone = (found["figures"]["pid"] for found in report["stages"].values())
    assert first == again != alone


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device=cpu"], "--device=cpu: the full size takes a CPU hours; add --size=tiny"),
        ([*CPU, "--only=ours,oars"], "--only: no stage 'oars'; there is environment, model, ours"),
        ([*CPU, "--work=/nowhere"], "/nowhere: no 1 GB free for the model and its states; give --work="),
    ],
)
def test_bad_input_is_one_line(words, said):
    with pytest.raises(UserError, match="") as caught:
        gpu.main(words)
    assert str(caught.value).startswith(said)


def test_a_machine_without_a_card_is_one_line(tmp_path):
    out = tmp_path / "out.json"
    words = ["--size=tiny", f"--out={out}", f"--work={tmp_path}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "error: PyTorch finds no CUDA device here" in done.stderr
    assert "Traceback" not in done.stderr and not out.exists()


@pytest.mark.parametrize("words", [["-m", "benchmarks.gpu"], [str(ROOT / "benchmarks" / "gpu")]])
def test_it_starts_as_a_module_and_as_a_folder(words, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    folder = ROOT if words[0] == "-m" else tmp_path
    done = subprocess.run(
        [sys.executable, *words, "--help"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("usage: gpu "), done.stderr


def test_names_of_stages_are_taken_in_their_order():
    assert [each.name for each in gpu.chosen("compiled-warm, ours")] == [
        "environment",
        "model",
        "ours",
        "compiled-warm",
    ]
    assert gpu.chosen("") == list(STAGES)


def test_the_stages_that_must_run_fit_the_time():
    """Those of the most worth, if each took all that it may."""
    assert sum(each.least for each in STAGES) <= 360
    assert all(each.least <= each.seconds for each in STAGES)


def test_make_installs_nothing_for_a_python_that_is_named(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    dry = ["make", "--dry-run", "gpu-check"]

    def said(*more: str) -> str:
        (tmp_path / "requirements.lock").touch()
        (tmp_path / "pyproject.toml").touch()
        return subprocess.run([*dry, *more], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "pip install" in said() and "pip install" not in said("PYTHON=python3")


def test_a_python_without_a_venv_runs_it(tmp_path):
    """With a folder of packages on its path, and words from ARGS."""
    python = sys._base_executable
    packages = os.pathsep.join(path for path in sys.path if "site-packages" in path)
    words = ["make", "gpu-check", f"PYTHON={python}"]
    more = f"ARGS=--device=cpu --size=tiny --only=states --out={tmp_path / 'out.json'}"
    environment = {**os.environ, "PYTHONPATH": packages}
    done = subprocess.run([*words, more], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "out.json").read_text())
    assert outcomes(report) == {"environment": "passed", "model": "passed", "states": "passed"}
    assert report["stages"]["environment"]["figures"]["nvidia-smi"] == "skipped: a CPU has none"


def test_a_stop_removes_the_folder(tmp_path):
    words = [sys.executable, "-m", "benchmarks.gpu", *CPU, f"--out={tmp_path / 'out.json'}", f"--work={tmp_path}"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("environment: passed")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130 and [path.name for path in tmp_path.iterdir()] == ["out.json"]
