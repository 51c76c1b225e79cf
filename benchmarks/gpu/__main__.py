"""Check a GPU: what this project does on it at full size, at most six minutes, no downloads.

    make gpu-check [ARGS="--seconds=360"]      python -m benchmarks.gpu [--seconds=360] [--only=ours,pristine]

Writes one JSON, after each stage, and a table at the end. Exit code 0 where every stage ran or says why it did not, 1
where one failed. --device=cpu --size=tiny tries the check itself. docs/gpu-check.md says what the figures tell.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a folder it finds the package, too
from benchmarks.gpu import shown
from benchmarks.gpu.stages import BY_NAME, FIRST, STAGES, TINY_LEAST, TINY_SECONDS, Stage
from benchmarks.gpu.worker import FAILED, LATE, SKIPPED, Worker
from extensions.base.errors import UserError
from extensions.base.paths import ROOT, RUNTIME
from extensions.base.reporting import exit_code_of
from extensions.base.saving import write_text
from extensions.upstream import git

VERSION = 1  # of the JSON
ROOM = {True: 10**9, False: 55 * 10**9}  # bytes: the model, two states, another one, a checkpoint
IN_MEMORY = Path("/dev/shm")
PREFIX = "gpu-check-"
VARIABLES = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
ON_CPU = {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def main(arguments: list[str]) -> int:
    """Run the stages that fit the time; the exit code."""
    asked = parsed(arguments)
    began = time.time()
    os.environ |= VARIABLES | (ON_CPU if asked.device == "cpu" else {})
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the folder is removed
    out = asked.out or out_path(began, asked.device)
    out.parent.mkdir(parents=True, exist_ok=True)
    report = head(asked, began)
    with work_folder(asked) as name:
        worker = Worker(asked.device, asked.size == "tiny", Path(name))
        try:
            for stage in asked.stages:
                report["stages"][stage.name] = found = one(worker, stage, asked, began)
                report["total_seconds"] = time.time() - began
                shown.derive(report["stages"])
                write_text(out, json.dumps(report, indent=1) + "\n")
                print(f"{stage.name}: {found['outcome']}, {found['seconds']:.1f} s", file=sys.stderr, flush=True)
                if stage.name == STAGES[0].name and "no CUDA device" in found["why"]:
                    out.unlink()
                    raise UserError(found["why"])
        finally:
            worker.end(patience=2)
    print("\n".join(shown.lines(report)))
    print(f"\n{out}")
    return int(shown.has_failed(report))


def one(worker: Worker, stage: Stage, asked: argparse.Namespace, began: float) -> dict:
    """Run a stage, or say that the clock leaves no time for it."""
    tiny = asked.size == "tiny"
    left = began + asked.seconds - time.time()
    least, most = (TINY_LEAST, TINY_SECONDS) if tiny else (stage.least, stage.seconds)
    if left < least:
        why = f"{max(0, left):.0f} of {asked.seconds:.0f} s were left, and it needs {least} or more: --seconds="
        return {"outcome": SKIPPED, "why": why, "seconds": 0.0, "figures": {}, "checks": {}}
    found = worker.run(stage, min(left, most))
    if found["outcome"] == LATE:
        # The check's own clock is nobody's fault; a stage that takes longer than any card should need hangs.
        cut = left < most
        whose = f"the check's {asked.seconds:.0f} s were over" if cut else f"it takes longer than {most} s"
        found |= {"outcome": LATE if cut else FAILED, "why": f"{whose}; {found['why']}"}
    return found


def head(asked: argparse.Namespace, began: float) -> dict:
    """The report without a stage."""
    commit = git.run(ROOT, "rev-parse", "HEAD").stdout.strip() if shutil.which("git") else ""
    return {
        "benchmark": "benchmarks.gpu", "version": VERSION, "device": asked.device, "size": asked.size,
        "began": datetime.fromtimestamp(began, timezone.utc).isoformat(timespec="seconds"), "commit": commit,
        "seconds": asked.seconds, "total_seconds": 0.0, "stages": {},
    }  # fmt: skip


def out_path(began: float, device: str) -> Path:
    """Where the JSON goes when nobody says."""
    stamp = datetime.fromtimestamp(began, timezone.utc).strftime("%Y-%m-%dT%H%M%SZ")
    return RUNTIME / "gpu-check" / f"{stamp}-{device}.json"


def work_folder(asked: argparse.Namespace) -> tempfile.TemporaryDirectory:
    """A folder with room, in memory where there is plenty. UserError where there is none."""
    room, places = (
        ROOM[asked.size == "tiny"],
        [asked.work] if asked.work else [IN_MEMORY, Path(tempfile.gettempdir())],
    )
    for place in places:
        # What lies in memory is taken from what the trainers' own copies need.
        if place == IN_MEMORY and psutil.virtual_memory().available < 2 * room:
            continue
        if place.is_dir() and os.access(place, os.W_OK) and shutil.disk_usage(place).free >= room:
            return tempfile.TemporaryDirectory(prefix=PREFIX, dir=place, ignore_cleanup_errors=True)
    where = " and ".join(map(str, places))
    raise UserError(
        f"{where}: no {room / 1e9:.0f} GB free for the model and its states; give --work=<a folder with room>"
    )


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The command line. UserError for an unknown stage."""
    parser = argparse.ArgumentParser("gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=("full", "tiny"), default="full", help="tiny: the stand-in's sizes")
    parser.add_argument("--seconds", type=float, default=360, help="for everything")
    parser.add_argument("--only", default="", help="stages, comma-separated, after environment and model")
    parser.add_argument("--out", type=Path, help="the JSON; else below sd-scripts-runtime/gpu-check/")
    parser.add_argument("--work", type=Path, help="a folder for some 55 GB; else in memory or TMPDIR")
    asked = parser.parse_args(arguments)
    if asked.device == "cpu" and asked.size == "full":
        raise UserError("--device=cpu: the full size takes a CPU hours; add --size=tiny")
    asked.stages = chosen(asked.only)
    return asked


def chosen(only: str) -> list[Stage]:
    """The stages that are asked for and those that all others go by, in their order; all for none."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in BY_NAME:
            raise UserError(f"--only: no stage {name!r}; there is {', '.join(BY_NAME)}")
    return [stage for stage in STAGES if not names or stage.name in {*names, *FIRST}]


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
