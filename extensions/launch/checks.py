"""Refuses what can be refused before anything is built or loaded: one line each, hours saved."""

import os
import tempfile
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.paths import LOGS
from extensions.flags import blend
from extensions.launch import blends, gpus, machines, numa
from extensions.launch.stages import Asked, Resolved
from extensions.model import prediction
from extensions.resume import states
from extensions.resume.description import State
from extensions.trainer import base_model

PROBE = 1 << 16  # bytes: command.sh and manifest.json
PATH_VARIABLES = {
    "pretrained_model_name_or_path": (
        "BASE_215C", "BASE_255B", "BASE_255C", "BASE_21B", "BASE_OWN",
        "BASE_AK_NIL", "BASE_AC_NIL", "BASE_AC_NOOBAI", "BASE_2EP", "BASE_VL_2_5EP",
    ),
    "in_json": ("META_20", "META_6K", "META_6K_SD2", "META_12M", "META_OWN"),
    "train_data_dir": ("DATA_20", "DATA_6K", "DATA_6K_SD2", "DATA_12M", "DATA_OWN"),
}  # fmt: skip
WHAT = {
    "pretrained_model_name_or_path": "base model",
    "in_json": "metadata",
    "train_data_dir": "folder of latents",
}


def check_machines(asked: Asked) -> None:
    """Check this machine's NUMA node, and the way to the other machines, before even a stand-in is made.

    UserError for what is missing. A tiny run drops its launcher's node where there is none.
    """
    if asked.numa_asked or not asked.tiny:
        numa.require(asked.numa)
    machines.check(asked.machines)


def check(asked: Resolved) -> list[str]:
    """Run all checks, in the order in which a person would mend them, and return what is to be told.

    UserError for the first that fails.
    """
    for flag in PATH_VARIABLES:
        if not (asked.blend and flag == blends.FLAG):
            require_path(asked, flag)
    notes = []
    if asked.blend:  # minutes of reading: once nothing else is in the way
        require_machine(asked)
        notes += blends.ensure(asked)
    notes += base_model.check(
        asked.path("pretrained_model_name_or_path"),
        asked.settings,
        change=prediction.CHANGE in asked.flags,
    )
    if "vae" in asked.flags:
        base_model.vae_header(asked.path("vae"))
    require_tokenizers(asked)
    require_machine(asked)
    return notes


def require_machine(asked: Resolved) -> None:
    """Require the GPUs, room for the record, and an output folder."""
    require_gpus(asked)
    require_logs()
    require_output(asked)


def require_logs() -> None:
    """Require that a run folder can be made, before gigabytes are copied or hashed."""
    try:
        LOGS.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=LOGS) as probe:
            probe.write(b"x" * PROBE)
            probe.flush()
    except OSError as error:
        raise UserError(f"no run folder can be made in {LOGS} ({error.strerror}); let LOGS= name another") from None


def require_path(asked: Asked, flag: str) -> None:
    """Require the file or folder of a flag, or name the variable that gives it."""
    path = asked.path(flag)
    if path.exists():
        return
    variable = next((v for v in PATH_VARIABLES[flag] if os.environ.get(v) == str(path)), None)
    if variable:
        how = f"set {variable} in sd-scripts-runtime/configs/env.sh"
    elif asked.parent and flag == "pretrained_model_name_or_path":
        how = f"run its parent first (make train RUN={asked.parent})"
    elif (run := blend.run_beside(path)) and flag == "pretrained_model_name_or_path":
        how = f"run that one first (make train RUN={run})"
    else:
        how = f"mend --{flag} in train/{asked.run}.sh"
    raise UserError(
        f"{WHAT[flag]} {path} is missing: {how}, or try everything on stand-ins: "
        f"make train RUN={asked.run} PROFILE=tiny"
    )


def require_tokenizers(asked: Asked) -> None:
    """Build the tokenizers from a package on first use, so that no run needs a hub."""
    folder = asked.flags.get("tokenizer_cache_dir")
    if folder:
        from extensions.text.tokenizers import ensure_tokenizers

        ensure_tokenizers(Path(folder))


def require_gpus(asked: Asked) -> None:
    """As many GPUs as asked for (a tiny run is on the CPU and may have as many processes as it likes)."""
    if asked.cpu:
        return
    present = len(gpus.names())
    if asked.gpus > present:
        more = f"give GPUS={present}" if present else "try PROFILE=tiny, which needs none"
        raise UserError(f"GPUS={asked.gpus}, but this machine has {present}; {more}")


def held_of(kept: list[State], bad: list[str]) -> str:
    """Say which training states an output folder holds; bad: why the others are none."""
    if kept:
        return f"a training state of optimizer step {kept[0].optimizer_steps:,}"
    return f"a training state that cannot be used ({bad[0]})"


def require_output(asked: Resolved) -> None:
    """Require an output folder that is writable and holds no model and no training state yet.

    Machine 0 alone writes there. On a shared disk the others may find that it has just done so.
    """
    if asked.machines.rank:
        return
    output = asked.output
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"output {output} cannot be written ({error.strerror}); set OUTPUT in env.sh") from None
    if asked.force or asked.resumed:
        return
    models = sorted(output.glob("*.safetensors")) + sorted(output.glob("*.ckpt"))
    kept, bad = states.found(states.folder_of(output))
    if models or kept or bad:
        held = models[0].name if models else held_of(kept, bad)
        more = "RESUME=auto goes on, " if kept else ""
        raise UserError(f"{output} already holds {held}; {more}FORCE=1 writes over it, or move it away")
