"""Creates the run folder: command.sh and manifest.json, written before the first step.

The launcher can be edited afterwards; this record cannot. What is saved later refers to it.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from extensions.averages import parents
from extensions.base import digests, manifest, secrets
from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.base.paths import LOGS, ROOT, RUNTIME
from extensions.base.saving import write_text
from extensions.launch import gpus, trainer
from extensions.launch.stages import Asked, Started
from extensions.model.checkpoint import read_header
from extensions.upstream import git

PACKAGES = (
    "torch", "torchvision", "accelerate", "transformers", "diffusers", "safetensors", "bitsandbytes", "deepspeed",
    "lion-pytorch", "pytorch-optimizer", "xformers", "numpy", "pyarrow", "pluggy", "tensorboard",
)  # fmt: skip
LARGE = 1 << 30  # bytes; from here on hashing takes long enough to say so


def stamp() -> str:
    """UTC, sortable, unique to the second."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def planned(asked: Asked) -> Path:
    """Return the folder of a launch that starts now. Machines that share a disk must not share it."""
    rank = asked.machines.rank
    return LOGS / asked.run / (f"{stamp()}-node{rank}" if rank else stamp())


def create(asked: Asked) -> Path:
    """Return a new, empty folder for this launch; a second launch in the same second gets a suffix.

    The user's alone: texts of images stand in its logs. With LOGS_SHARED=1 the umask says who may read it.
    """
    base = planned(asked)
    mode = 0o777 if asked.logs_shared else 0o700
    for number in range(1000):
        folder = base if number == 0 else base.with_name(f"{base.name}-{number}")
        try:
            folder.mkdir(mode, parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(base)


def write_command(started: Started) -> None:
    """command.sh: the exact command, to be read and to be run again."""
    sources = "".join(f"# --{flag} names a copy in memory of {path}\n" for flag, path in started.staged.sources)
    sources += "".join(f"# ${name} is a secret: export it first\n" for name, _ in started.staged.secrets)
    line = shell(started.words, started.environment)
    script = f"#!/usr/bin/env bash\n{sources}cd {shlex.quote(str(ROOT))}\n{line}\n"
    write_text(started.folder / "command.sh", script)
    (started.folder / "command.sh").chmod(0o755)


def shell(command: Iterable[str], environment: dict[str, str]) -> str:
    """Return the command as one shell line, variables in front."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return " ".join([*variables, shlex.join(command)])


def write_manifest(started: Started) -> None:
    """manifest.json with everything known before the start."""
    staged = started.staged
    record = Manifest(
        run=staged.run,
        started=now(),
        profile=staged.profile or "full",
        parent=staged.parent or None,
        **trainer.identity(staged),
        script=staged.script,
        extensions=list(staged.settings.plugins),
        flags=staged.flags.as_dict(),
        processes=staged.processes,
        machines={"count": staged.machines.count, "rank": staged.machines.rank},
        numa_node=staged.numa,
        ramdisk={flag: str(path) for flag, path in staged.sources},
        command=list(started.words),
        **project(started.folder, [secret for _, secret in staged.secrets]),
        packages=versions(),
        hardware=hardware(staged.cpu),
        # Of the metadata, RAMDISK=1 has staged the index alone.
        base_model=base_model(staged.source("pretrained_model_name_or_path")),
        metadata=fingerprint(staged.source("in_json")),
    )
    manifest.write(started.folder, record)


def now() -> str:
    """UTC, for the record."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def project(folder: Path, known: list[str]) -> dict:
    """Our commit; what differs from it goes to changes.diff beside the manifest. known: secrets, which do not."""
    commit = git.run(ROOT, "rev-parse", "HEAD").stdout.strip()
    diff = git.run(ROOT, "diff", "HEAD", "--ignore-submodules=dirty").stdout
    if diff:
        secret = [*known, *secrets.of_environment(os.environ)]
        write_text(folder / "changes.diff", secrets.redacted(diff, secret))
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
        "gpus": [] if cpu else list(gpus.names()),
        "machine": platform.machine(),
    }


def fingerprint(path: Path) -> dict:
    """Path, size (bytes) and sha256 of a file.

    Seven gigabytes take some ten seconds, so that a hash is kept for the file's size and time.
    """
    facts = path.stat()
    key = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"
    cache = RUNTIME / "sha256.json"
    known = kept_hashes(cache)
    if not isinstance(known.get(key), str):
        if facts.st_size > LARGE:
            print(f"hashing {path.name} for the record …", flush=True)
        known[key] = digests.of_file(path, hashlib.sha256())
        with suppress(OSError):  # a hash that is not kept is made again
            write_text(cache, json.dumps(known, indent=1))
    return {"path": str(path), "bytes": facts.st_size, "sha256": known[key]}


def base_model(path: Path) -> dict:
    """Return the fingerprint of the base model, and its recipe where it is a blend."""
    recipe = None
    with suppress(UserError):  # what is no checkpoint has been refused
        recipe = parents.recipe_in(read_header(path))
    return fingerprint(path) | ({"blend": recipe} if recipe else {})


def kept_hashes(cache: Path) -> dict:
    """Return what is kept of hashes; nothing where the file is damaged, for all of it can be made again."""
    try:
        found = json.loads(cache.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def finish(folder: Path, exit_code: int) -> None:
    """Add end and exit code to the manifest."""
    manifest.update(folder, ended=now(), exit_code=exit_code)
