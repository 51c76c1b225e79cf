"""The run folder: command.sh and manifest.json, written before the first step.

The launcher can be edited afterwards; this record cannot. What is saved later refers to it.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
from datetime import datetime, timezone
from pathlib import Path

from extensions.base import digests
from extensions.base.paths import LOGS, ROOT, RUNTIME
from extensions.base.saving import write_text
from extensions.launch import trainer
from extensions.launch.request import Request
from extensions.upstream import git

PACKAGES = (
    "torch", "torchvision", "accelerate", "transformers", "diffusers", "safetensors", "bitsandbytes", "deepspeed",
    "lion-pytorch", "pytorch-optimizer", "xformers", "numpy", "pyarrow", "pluggy", "tensorboard",
)  # fmt: skip
LARGE = 1 << 30  # bytes; from here on hashing takes long enough to say so


def stamp() -> str:
    """UTC, sortable, unique to the second."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def planned(request: Request) -> Path:
    """The folder of a launch that starts now. Machines that share a disk must not share it."""
    rank = request.machines.rank
    return LOGS / request.run / (f"{stamp()}-node{rank}" if rank else stamp())


def create(request: Request) -> Path:
    """A new, empty folder for this launch; a second launch in the same second gets a suffix."""
    base = planned(request)
    for number in range(1000):
        folder = base if number == 0 else base.with_name(f"{base.name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(base)


def write_command(folder: Path, command: list[str], environment: dict[str, str], staged: dict[str, Path]) -> None:
    """command.sh: the exact command, to be read and to be run again. staged: what RAMDISK=1 replaced."""
    sources = "".join(f"# --{flag} names a copy in memory of {source}\n" for flag, source in staged.items())
    script = f"#!/usr/bin/env bash\n{sources}cd {shlex.quote(str(ROOT))}\n{shell(command, environment)}\n"
    write_text(folder / "command.sh", script)
    (folder / "command.sh").chmod(0o755)


def shell(command: list[str], environment: dict[str, str]) -> str:
    """The command as one shell line, variables in front."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return " ".join([*variables, shlex.join(command)])


def write_manifest(folder: Path, request: Request, command: list[str]) -> None:
    """manifest.json with everything known before the start."""
    write_text(
        folder / "manifest.json",
        json.dumps(manifest(folder, request, command), indent=1, ensure_ascii=False) + "\n",
    )


def manifest(folder: Path, request: Request, command: list[str]) -> dict:
    """What the run is made of."""
    return {
        "run": request.run,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "profile": request.profile or "full",
        "parent": request.parent or None,
        **trainer.identity(request),
        "script": request.script,
        "extensions": (request.flags.get("extensions") or "").split(","),
        "flags": request.flags.as_dict(),
        "processes": request.processes,
        "machines": {"count": request.machines.count, "rank": request.machines.rank},
        "numa_node": request.numa,
        "ramdisk": {flag: str(source) for flag, source in request.staged.items()},
        "command": command,
        **project(folder),
        "packages": versions(),
        "hardware": hardware(request.cpu),
        "base_model": of_source(request, "pretrained_model_name_or_path"),
        "metadata": of_source(request, "in_json"),
        "ended": None,
        "exit_code": None,
    }


def project(folder: Path) -> dict:
    """Our commit; what differs from it goes to changes.diff beside the manifest."""
    commit = git.run(ROOT, "rev-parse", "HEAD").stdout.strip()
    diff = git.run(ROOT, "diff", "HEAD", "--ignore-submodules=dirty").stdout
    if diff:
        write_text(folder / "changes.diff", diff)
    return {"project_commit": commit, "project_changes": "changes.diff" if diff else None}


def versions() -> dict[str, str]:
    """Installed versions of the packages that make a difference."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), **found}


def hardware(cpu: bool) -> dict:
    """Cores, memory (bytes) and the GPUs of a run that uses them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpus": os.cpu_count(),
        "memory_bytes": memory,
        "gpus": [] if cpu else gpus(),
        "machine": platform.machine(),
    }


def gpus() -> list[str]:
    """Names of the GPUs. Importing torch for it takes seconds, which a run on the CPU is spared."""
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def of_source(request: Request, flag: str) -> dict:
    """The fingerprint of a flag's file on its disk: of the metadata, RAMDISK=1 has staged the index alone."""
    return fingerprint(request.staged.get(flag) or request.path(flag))


def fingerprint(path: Path) -> dict:
    """Path, size (bytes) and sha256 of a file.

    Seven gigabytes take some ten seconds, so that a hash is kept for the file's size and time.
    """
    facts = path.stat()
    key = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"
    cache = RUNTIME / "sha256.json"
    known = json.loads(cache.read_text()) if cache.is_file() else {}
    if key not in known:
        if facts.st_size > LARGE:
            print(f"hashing {path.name} for the record …", flush=True)
        known[key] = digests.of_file(path, hashlib.sha256())
        write_text(cache, json.dumps(known, indent=1))
    return {"path": str(path), "bytes": facts.st_size, "sha256": known[key]}


def finish(folder: Path, exit_code: int) -> None:
    """Add end and exit code to the manifest."""
    path = folder / "manifest.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts |= {"ended": datetime.now(timezone.utc).isoformat(timespec="seconds"), "exit_code": exit_code}
    write_text(path, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
