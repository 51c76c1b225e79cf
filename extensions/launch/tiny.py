"""PROFILE=tiny: the same launcher on stand-ins, on a machine with no GPU, model or data.

Everything that is changed is changed here and said; every other flag reaches the trainer as it is.
"""

from pathlib import Path

from extensions.base.paths import STANDIN_DATASETS, STANDIN_MODELS
from extensions.flags import attention
from extensions.launch import numa, processor
from extensions.launch.request import Request

# One unit of a production run (the interval of its saves and segment borders) becomes one tiny step:
# 778k optimizer steps become 78, and every segment keeps its place in the whole.
STEPS_A_UNIT = 10_000
BIG_INTERVAL = 1_000


def apply(request: Request) -> None:
    """Rewrite the request in place and note each replacement. Makes the stand-ins where they are missing."""
    flags = request.flags
    before = flags.as_dict()
    ready = standins()
    replace_data(request, ready)
    scale_steps(request)
    replace_base(request, ready)
    if flags.drop("xformers"):  # CUDA's alone
        flags.put("sdpa")
    if flags.get("dynamo_backend") == "inductor":
        # Inductor compiles for minutes on a CPU; the graphs that dynamo captures are the same.
        flags.put("dynamo_backend", "aot_eager")
    if "full_bf16" in flags and not processor.has_bf16():
        flags.put("extensions", ",".join(filter(None, [flags.get("extensions"), "cpu_bf16"])))
    replace_topology(request)
    attention.give_way(flags, request.extra)  # said already, or put there by us
    flags.update(request.extra)
    request.notes += described(before, flags.as_dict())


def replace_topology(request: Request) -> None:
    """One process unless GPUS is given; the launcher's NUMA node where there is one. RAMDISK stays as it is."""
    if request.gpus > 1 and not request.gpus_asked:
        request.notes.append(f"tiny: 1 process instead of {request.gpus}; GPUS={request.gpus} starts as many")
        request.gpus = 1
    if request.numa is not None and not request.numa_asked and (reason := numa.missing(request.numa)):
        request.notes.append(f"tiny: not bound to NUMA node {request.numa}: {reason}")
        request.numa = None


def standins() -> dict[str, Path]:
    """Paths of the stand-in models, data and tokenizers, made on first use."""
    from extensions.standins.ensure import ensure_all

    return ensure_all(STANDIN_MODELS, STANDIN_DATASETS)


def replace_data(request: Request, ready: dict[str, Path]) -> None:
    """Point metadata, latents and tokenizers at the stand-ins."""
    family = "sd2" if "v2" in request.flags else "sdxl"
    request.flags.put("in_json", ready[f"meta_{family}"])
    request.flags.put("train_data_dir", ready[f"data_{family}"])
    request.flags.put("tokenizer_cache_dir", ready["tokenizers"])


def scale_steps(request: Request) -> None:
    """Cap the run at TINY_STEPS optimizer steps; scale start, stop and save intervals of production runs."""
    flags = request.flags
    for name in ("initial_step", "stop_at_step", "save_every_n_steps", "states_every_n_steps"):
        if name in flags:
            flags.put(name, str(scaled(flags.number(name))))
    start = flags.number("initial_step")
    last = start + request.tiny_steps
    flags.drop("max_train_epochs")
    flags.put("max_train_steps", str(last))
    if "stop_at_step" in flags:
        flags.put("stop_at_step", str(min(flags.number("stop_at_step"), last)))


def scaled(steps: int) -> int:
    """Optimizer steps of a production run in tiny steps; small counts stay as they are."""
    return steps if steps < BIG_INTERVAL else max(1, round(steps / STEPS_A_UNIT))


def replace_base(request: Request, ready: dict[str, Path]) -> None:
    """The stand-in base model; for a segment, its parent's checkpoint where the parent has run."""
    wanted = request.path("pretrained_model_name_or_path")
    family = "sd2" if "v2" in request.flags else "sdxl"
    if request.parent:
        checkpoint = wanted.with_name(f"at-step{request.flags.number('initial_step'):08d}.safetensors")
        if checkpoint.is_file():
            request.flags.put("pretrained_model_name_or_path", checkpoint)
            return
        request.notes.append(
            f"tiny: parent {request.parent} has left no {checkpoint.name} yet; starting from the stand-in base"
        )
    request.flags.put("pretrained_model_name_or_path", ready[family])


def described(before: dict, after: dict) -> list[str]:
    """One line for each flag that differs."""
    lines = []
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if old != new:
            lines.append(f"tiny: --{name}: {shown(old)} -> {shown(new)}")
    return lines


def shown(value) -> str:
    """A flag's value for a person: file names instead of whole paths."""
    if value is None:
        return "(not set)"
    return "on" if value is True else Path(value).name if isinstance(value, str) else " ".join(value)
