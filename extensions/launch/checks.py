"""What can be refused before anything is built or loaded: one line each, hours saved."""

import os
from pathlib import Path

from extensions.base.errors import UserError
from extensions.launch import machines, numa
from extensions.launch.request import Request
from extensions.model import checkpoint
from extensions.resume import states

PATH_VARIABLES = {
    "pretrained_model_name_or_path": ("BASE_215C", "BASE_255B", "BASE_255C", "BASE_21B"),
    "in_json": ("META_20", "META_6K", "META_6K_SD2", "META_12M"),
    "train_data_dir": ("DATA_20", "DATA_6K", "DATA_6K_SD2", "DATA_12M"),
}
WHAT = {
    "pretrained_model_name_or_path": "base model",
    "in_json": "metadata",
    "train_data_dir": "folder of latents",
}


def check_machines(request: Request) -> None:
    """This machine's NUMA node, and the way to the other machines, before even a stand-in is made.

    UserError for what is missing. A tiny run drops its launcher's node where there is none.
    """
    if request.numa_asked or not request.tiny:
        numa.require(request.numa)
    machines.check(request.machines)


def check(request: Request) -> None:
    """All checks, in the order in which a person would mend them. UserError for the first that fails."""
    for flag in PATH_VARIABLES:
        require_path(request, flag)
    family = "sd2" if "v2" in request.flags else "sdxl"
    checkpoint.require_family(checkpoint.read_header(request.path("pretrained_model_name_or_path")), family)
    require_tokenizers(request)
    require_gpus(request)
    require_output(request)


def require_path(request: Request, flag: str) -> None:
    """The file or folder of a flag exists; else name the variable that gives it."""
    path = request.path(flag)
    if path.exists():
        return
    variable = next((v for v in PATH_VARIABLES[flag] if os.environ.get(v) == str(path)), None)
    if variable:
        how = f"set {variable} in sd-scripts-runtime/configs/env.sh"
    elif request.parent and flag == "pretrained_model_name_or_path":
        how = f"run its parent first (make train RUN={request.parent})"
    else:
        how = f"mend --{flag} in train/{request.run}.sh"
    raise UserError(
        f"{WHAT[flag]} {path} is missing: {how}, or try everything on stand-ins: "
        f"make train RUN={request.run} PROFILE=tiny"
    )


def require_tokenizers(request: Request) -> None:
    """The tokenizers are built from a package on first use, so that no run needs a hub."""
    folder = request.flags.get("tokenizer_cache_dir")
    if folder:
        from extensions.text.tokenizers import ensure_tokenizers

        ensure_tokenizers(Path(folder))


def require_gpus(request: Request) -> None:
    """As many GPUs as asked for (a tiny run is on the CPU and may have as many processes as it likes)."""
    if request.cpu:
        return
    import torch

    present = torch.cuda.device_count()
    if request.gpus > present:
        more = f"give GPUS={present}" if present else "try PROFILE=tiny, which needs none"
        raise UserError(f"GPUS={request.gpus}, but this machine has {present}; {more}")


def require_output(request: Request) -> None:
    """The output folder is writable and holds no model and no training state yet.

    Machine 0 alone writes there. On a shared disk the others may find that it has just done so.
    """
    if request.machines.rank:
        return
    output = request.output
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"output {output} cannot be written ({error.strerror}); set OUTPUT in env.sh") from None
    if request.force or request.resumed:
        return
    models = sorted(output.glob("*.safetensors")) + sorted(output.glob("*.ckpt"))
    kept = states.found(states.folder_of(output))[0]
    if models or kept:
        held = models[0].name if models else f"a training state of optimizer step {kept[0].optimizer_steps:,}"
        more = "RESUME=auto goes on, " if kept else ""
        raise UserError(f"{output} already holds {held}; {more}FORCE=1 writes over it, or move it away")
