"""Plans a run before it is launched: images, steps, parameters, memory, hours (make plan).

It reads the launcher and the caller's GPUS and ARGS as a launch does, and no model and no data. The trainer is asked
whether it takes the flags (launch/trial.py).
Figures are of the full size; PROFILE=tiny needs no plan. tables.py prints them.
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.data.index import Index, layout
from extensions.flags import contradictions, values
from extensions.launch import asked as request
from extensions.launch.machines import Machines
from extensions.launch.stages import Asked, changed
from extensions.logbook import header, registry, steps
from extensions.logbook.header import Header
from extensions.logbook.registry import Run
from extensions.plan import averages, evaluation, mixing, samples, vram

# What the plan reads; of anything else in ARGS it says that it makes no difference here.
READ = {
    "in_json", "train_batch_size", "gradient_accumulation_steps", "max_train_epochs", "max_train_steps",
    "initial_step", "stop_at_step", "v2", "unet_percent", "unet_train", "unet_freeze", "learning_rate",
    "learning_rate_te", "learning_rate_te1", "learning_rate_te2", "train_text_encoder", "optimizer_type",
    "use_8bit_adam", "full_bf16", "full_fp16", "mixed_precision", "deepspeed", "zero_stage", "torch_compile",
    "gradient_checkpointing", "resolution", "token_chunks", "max_token_chunks", "cache_latents",
    "cache_latents_to_disk", "cache_text_encoder_outputs", "dataset_class", "ddp_gradient_as_bucket_view",
    "bf16_updates", "recompute", "max_token_length", "extensions", *vram.ATTENTION, *vram.OFFLOAD, *vram.FUSED,
    *averages.READ, *evaluation.flags(), *samples.READ,
}  # fmt: skip


SMALL_JSON = 64 << 20  # bytes; 50,000 images of the recorded kind, read in a second


@dataclass(frozen=True)
class Plan:
    """One run with the caller's changes, and as the launcher has it. images: to train on, None where unknown."""

    asked: Asked
    run: Run
    launcher: Run
    head: Header
    images: int | None


def read(name: str, environment: dict[str, str]) -> Plan:
    """Return the plan's run. UserError for an unknown run, and for variables or flags that a launch would refuse."""
    if environment.get("PROFILE"):
        raise UserError(f"PROFILE={environment['PROFILE']}: make plan is about the full-size run; leave PROFILE away")
    if not name:
        raise UserError("make plan needs a run, e.g. RUN=25022601; make runs lists all")
    path = LAUNCHERS / f"{registry.known(name)}.sh"
    facts, head = registry.ask(path), header.read(path)
    asked = request.read(facts, {key: environment.get(key, "") for key in ("ARGS", "TRAINER")})
    # Steps, shards and speed depend on the processes of the whole run, on all machines.
    count = values.count("NNODES", environment.get("NNODES") or "1", least=1)
    gpus = values.count("GPUS", environment.get("GPUS") or str(asked.gpus), least=1)
    asked = changed(asked, gpus=gpus, machines=Machines(count))
    contradictions.check(asked.flags, asked.processes)
    try:
        run, launcher = registry.run_of(asked, head), registry.run_of(request.read(facts, {}), head)
    except ValueError as error:
        raise UserError(f"train/{path.name} with ARGS={environment.get('ARGS', '')}: {error}") from None
    images = mixing.samples(asked) or steps.IMAGES.get(run.data)
    images = images or counted(request.read(registry.ask_here(path), {}).flags.get("in_json"))
    if environment.get("IMAGES"):
        images = values.count("IMAGES", environment["IMAGES"], least=1)
    return Plan(asked, run, launcher, head, evaluation.left(asked, images))


def counted(metadata: str | None) -> int | None:
    """Count images of a data set that is here: by its index, else by a JSON that is not large; else None."""
    path = Path(metadata or "")
    if (index := layout.index_of(path)).is_file():
        return len(Index(index))
    if path.is_file() and path.suffix == ".json" and path.stat().st_size < SMALL_JSON:
        return len(json.loads(path.read_text(encoding="utf-8")))
    return None


def stated_rate(environment: dict[str, str]) -> float | None:
    """IMG_S in images a second. UserError for anything but a number above 0."""
    text = environment.get("IMG_S")
    return positive("IMG_S", text, "images a second") if text else None


def stated_bus(environment: dict[str, str]) -> float | None:
    """BUS in GB/s into each GPU. UserError for anything but a number above 0."""
    text = environment.get("BUS")
    return positive("BUS", text, "GB/s") if text else None


def positive(name: str, text: str, unit: str) -> float:
    """Return a number above 0. UserError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"{name}={text} is not a number of {unit} above 0")
    return value


def card_of(environment: dict[str, str], head: Header) -> tuple[float, str]:
    """Return (GB of one card, where that comes from): VRAM, this machine's card, the launcher's header."""
    if text := environment.get("VRAM"):
        return positive("VRAM", text, "GB"), "VRAM"
    if shutil.which("nvidia-smi"):
        import torch  # seconds, which a machine without a card is spared

        if torch.cuda.is_available():
            sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
            return min(sizes) / vram.GB, "this machine"
    found = re.search(r"(\d+) GB", head.hardware)
    if not found:
        raise UserError("the launcher's Hardware line names no GB and there is no card here; give VRAM=24")
    return float(found[1]), "the launcher's header"


def counts_of(planned: Plan) -> tuple[steps.Counts, steps.Counts] | None:
    """Return (this run's own part, the whole schedule); None where the number of images is not known."""
    run = planned.run
    if planned.images is None:
        return None
    sizes = (planned.images, run.gpus, run.batch_size, run.ga)
    whole = steps.count(planned.images, run.epochs, *sizes[1:]) if run.epochs else steps.reached(run.steps, *sizes)
    stop = min(run.stop_step or whole.optimizer_steps, whole.optimizer_steps)
    before, after = (steps.reached(min(step, stop), *sizes) for step in (run.start_step, stop))
    own = steps.Counts(
        after.samples - before.samples,
        after.micro_steps - before.micro_steps,
        steps.segment(whole.optimizer_steps, run.start_step, run.stop_step),
    )
    return own, whole
