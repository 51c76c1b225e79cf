"""Shrinks a launch to stand-ins, on a machine with no GPU, model or data (PROFILE=tiny).

Everything that is changed is changed here and said; every other flag reaches the trainer as it is.
"""

from pathlib import Path

from extensions import manager
from extensions.base.paths import STANDIN_DATASETS, STANDIN_MODELS
from extensions.flags import attention, blend
from extensions.flags.words import Flags
from extensions.launch import numa, processor
from extensions.launch.stages import Asked, changed
from extensions.model import folder
from extensions.model.checkpoint import Header, read_header

# One unit of a production run (the interval of its saves and segment borders) becomes one tiny step:
# 778k optimizer steps become 78, and every segment keeps its place in the whole.
STEPS_A_UNIT = 10_000
BIG_INTERVAL = 1_000


def apply(asked: Asked) -> Asked:
    """Return the same launch on stand-ins, which are made where they are missing, and a note of each replacement."""
    ready = standins()
    flags = without_fields(asked.flags) if "in_json" not in asked.extra else asked.flags
    flags, notes = replaced_base(asked, scaled_steps(asked, replaced_data(flags, ready)), ready)
    if "xformers" in flags:  # CUDA's alone
        flags = flags.without("xformers").with_("sdpa")
    if flags.get("dynamo_backend") == "inductor":
        # Inductor compiles for minutes on a CPU; the graphs that dynamo captures are the same.
        flags = flags.with_("dynamo_backend", "aot_eager")
    flags = with_bf16(flags)
    flags, _ = attention.give_way(flags, asked.extra)  # said already, or put there by us
    flags = flags.merged(asked.extra)
    topology, more = replaced_topology(asked)
    notes += more + described(asked.flags.as_dict(), flags.as_dict())
    return changed(asked, flags=flags, notes=notes, **topology)


def without_fields(flags: Flags) -> Flags:
    """Return the flags without those of plugins that speak of what only the run's own data have."""
    listed = manager.listed(flags.get("extensions"))
    return flags.without(*(flag.name for flag in manager.flags_of(listed) if flag.of_data))


def with_bf16(flags: Flags) -> Flags:
    """Return the flags with the plugin that makes up for a processor without bf16 units, where the run needs them."""
    if "full_bf16" not in flags or processor.has_bf16():
        return flags
    lack = "bf16 units"
    makers = [name for name in manager.available() if getattr(manager.declared(name), "makes_up_for", None) == lack]
    return flags.with_("extensions", ",".join(dict.fromkeys([*manager.listed(flags.get("extensions")), *makers])))


def replaced_topology(asked: Asked) -> tuple[dict[str, int | None], list[str]]:
    """One process unless GPUS is given; the launcher's NUMA node where there is one. RAMDISK stays as it is."""
    found: dict[str, int | None] = {}
    notes = []
    if asked.gpus > 1 and not asked.gpus_asked:
        notes.append(f"tiny: 1 process instead of {asked.gpus}; GPUS={asked.gpus} starts as many")
        found["gpus"] = 1
    if asked.numa is not None and not asked.numa_asked and (reason := numa.missing(asked.numa)):
        notes.append(f"tiny: not bound to NUMA node {asked.numa}: {reason}")
        found["numa"] = None
    return found, notes


def standins() -> dict[str, Path]:
    """Return paths of the stand-in models, data and tokenizers, made on first use."""
    from extensions.standins.ensure import ensure_all

    return ensure_all(STANDIN_MODELS, STANDIN_DATASETS)


def replaced_data(flags: Flags, ready: dict[str, Path]) -> Flags:
    """Metadata, latents and tokenizers of the stand-ins."""
    family = "sd2" if "v2" in flags else "sdxl"
    flags = flags.with_("in_json", ready[f"meta_{family}"]).with_("train_data_dir", ready[f"data_{family}"])
    return flags.with_("tokenizer_cache_dir", ready["tokenizers"])


def scaled_steps(asked: Asked, flags: Flags) -> Flags:
    """Cap the run at TINY_STEPS optimizer steps; start, stop and save intervals of production runs scaled."""
    for name in ("initial_step", "stop_at_step", "save_every_n_steps", "states_every_n_steps"):
        if name in flags:
            flags = flags.with_(name, scaled(flags.number(name)))
    last = flags.number("initial_step") + asked.tiny_steps
    flags = flags.without("max_train_epochs").with_("max_train_steps", last)
    return flags.with_("stop_at_step", min(flags.number("stop_at_step"), last)) if "stop_at_step" in flags else flags


def scaled(steps: int) -> int:
    """Optimizer steps of a production run in tiny steps; small counts stay as they are."""
    return steps if steps < BIG_INTERVAL else max(1, round(steps / STEPS_A_UNIT))


def replaced_base(asked: Asked, flags: Flags, ready: dict[str, Path]) -> tuple[Flags, list[str]]:
    """Choose the stand-in base model; for a segment, its parent's checkpoint if that has run, else a note."""
    wanted, name = asked.path("pretrained_model_name_or_path"), "pretrained_model_name_or_path"
    if blend.is_blend(asked.flags.get(name)):
        return replaced_parents(asked, flags, ready["sd2" if "v2" in flags else "sdxl"])
    notes: list[str] = []
    if asked.parent:
        checkpoint = wanted.with_name(f"at-step{flags.number('initial_step'):08d}.safetensors")
        if checkpoint.is_file():
            return flags.with_(name, checkpoint), notes
        notes.append(
            f"tiny: parent {asked.parent} has left no {checkpoint.name} yet; starting from the stand-in base"
        )
    return flags.with_(name, ready["sd2" if "v2" in flags else "sdxl"]), notes


def replaced_parents(asked: Asked, flags: Flags, standin: Path) -> tuple[Flags, list[str]]:
    """Choose the parents of a blend: runs that have left a stand-in, and the stand-in base for all others."""
    name = "pretrained_model_name_or_path"
    wanted = blend.of_text(flags.get(name) or "", f"--{name}")
    names, notes = [], []
    for parent in wanted.names:
        run, step = blend.run_of(parent) or ("", None)
        found = folder.last([asked.output.with_name(f"model_out_{run}")], step and scaled(step)) if run else None
        if found and is_standin(found, standin):
            names.append(run if step is None else f"{run}@{scaled(step)}")
            continue
        names.append(parent if parent == blend.BASE else str(standin))
        if run:
            notes.append(f"tiny: run {run} has left no stand-in here; the stand-in base takes its place in the blend")
    if not any(map(blend.run_of, names)):
        names = [str(standin)] * len(names)
    return flags.with_(name, blend.Blend(tuple(names), wanted.ratio).text), notes


def is_standin(header: Header, standin: Path) -> bool:
    """Tell whether a checkpoint is of a stand-in's size: the same folder may hold the run at full size."""
    shapes = read_header(standin).shapes
    return all(shapes.get(name, shape) == shape for name, shape in header.shapes.items())


def described(before: dict, after: dict) -> list[str]:
    """One line for each flag that differs."""
    lines = []
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if old != new:
            lines.append(f"tiny: --{name}: {shown(old)} -> {shown(new)}")
    return lines


def shown(value) -> str:
    """Return a flag's value for a person: file names instead of whole paths."""
    if value is None:
        return "(not set)"
    return "on" if value is True else Path(value).name if isinstance(value, str) else " ".join(value)
