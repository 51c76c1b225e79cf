"""`make plan RUN=…`: what a run will take, before it is launched: images, steps, parameters, memory, hours.

It reads the launcher and the caller's GPUS and ARGS as a launch does, and nothing else: no model, no data.
Figures are of the full size; PROFILE=tiny needs no plan.
"""

import re
import shutil
from dataclasses import dataclass

from extensions.errors import UserError
from extensions.launch import request
from extensions.launch.request import SD_SCRIPTS, Request
from extensions.logbook import (
    advice, full_size, header, optimizer_memory, recorded, registry, speed, steps, tables, vram, vram_fit,
)  # fmt: skip
from extensions.logbook.header import Header
from extensions.logbook.registry import Run
from extensions.paths import LAUNCHERS

# What the plan reads; of anything else in ARGS it says that it makes no difference here.
READ = {
    "in_json", "train_batch_size", "gradient_accumulation_steps", "max_train_epochs", "max_train_steps",
    "initial_step", "stop_at_step", "v2", "unet_percent", "unet_train", "unet_freeze", "learning_rate",
    "learning_rate_te", "learning_rate_te1", "learning_rate_te2", "train_text_encoder", "optimizer_type",
    "use_8bit_adam", "full_bf16", "full_fp16", "mixed_precision", "deepspeed", "zero_stage", "torch_compile",
    "gradient_checkpointing", "resolution", "token_chunks", "max_token_chunks", "cache_latents",
    "cache_latents_to_disk", "cache_text_encoder_outputs", "dataset_class", "ddp_gradient_as_bucket_view",
    "bf16_updates", "extensions", *vram.ATTENTION, *vram.OFFLOAD, *vram.FUSED,
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """One run with the caller's changes. images: of the data set, None where unknown. changed: by the caller."""

    asked: Request
    run: Run
    head: Header
    images: int | None
    changed: bool


def read(name: str, environment: dict[str, str]) -> Plan:
    """The plan's run. UserError for an unknown run, or a variable or flag that makes no sense."""
    if environment.get("PROFILE"):
        raise UserError(f"PROFILE={environment['PROFILE']}: make plan is about the full-size run; leave PROFILE away")
    number = registry.known(name)
    path = LAUNCHERS / f"{number}.sh"
    given = {key: environment.get(key, "") for key in ("ARGS", "TRAINER")}
    asked = request.read(registry.ask(path), given)
    if environment.get("GPUS"):
        asked.gpus = request.count("GPUS", environment["GPUS"], least=1)
    require_counts(asked)
    head = header.read(path)
    try:
        run = registry.run_of(asked, head)
    except ValueError as error:
        raise UserError(f"train/{number}.sh: {error}") from None
    images = steps.IMAGES.get(run.data)
    if environment.get("IMAGES"):
        images = request.count("IMAGES", environment["IMAGES"], least=1)
    changed = bool(environment.get("GPUS") or environment.get("ARGS"))
    return Plan(asked, run, head, images, changed)


def require_counts(asked: Request) -> None:
    """UserError for a batch, accumulation or step below what can be."""
    for name in ("train_batch_size", "gradient_accumulation_steps", "max_train_epochs", "max_train_steps"):
        if name in asked.flags and asked.flags.number(name) < 1:
            raise UserError(f"--{name}={asked.flags.get(name)} is not a whole number from 1 up")
    start, stop = asked.flags.number("initial_step"), asked.flags.number("stop_at_step")
    if start < 0 or ("stop_at_step" in asked.flags and stop <= start):
        raise UserError(f"--initial_step={start} and --stop_at_step={stop} leave nothing to do")


def show(name: str, environment: dict[str, str]) -> None:
    """Print the plan of a run. UserError before the first line for what cannot be planned."""
    made = read(name, environment)
    card, whose = card_of(environment, made.head)
    rate = stated_rate(environment)
    memory = memory_of(made)
    print(f"model_out_{made.run.run}: {made.head.words}\n")
    unread(made)
    counts = show_counts(made)
    show_parameters(made)
    show_memory(made, memory, card, whose)
    show_hours(made, counts, rate)


def unread(made: Plan) -> None:
    """Say which flags of ARGS make no difference to the plan."""
    if names := [f"--{name}" for name in made.asked.extra.values if name not in READ]:
        print(f"ARGS: the plan does not depend on {', '.join(names)}\n")


def stated_rate(environment: dict[str, str]) -> float | None:
    """IMG_S in images a second. UserError for anything but a number above 0."""
    text = environment.get("IMG_S")
    return positive("IMG_S", text, "images a second") if text else None


def positive(name: str, text: str, unit: str) -> float:
    """A number above 0. UserError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"{name}={text} is not a number of {unit} above 0")
    return value


def card_of(environment: dict[str, str], head: Header) -> tuple[float, str]:
    """(GB of one card, where that comes from): VRAM, this machine's card, the launcher's header."""
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


def counts_of(made: Plan) -> tuple[steps.Counts, steps.Counts] | None:
    """(this run's own part, the whole schedule); None where the number of images is not known."""
    flags, run = made.asked.flags, made.run
    if made.images is None:
        return None
    sizes = (made.images, run.gpus, speed.batch_size(run), run.ga)
    if run.epochs:
        whole = steps.count(made.images, run.epochs, *sizes[1:])
    else:
        # Upstream's default of --max_train_steps.
        whole = steps.reached(flags.number("max_train_steps", 1600), *sizes)
    stop = min(run.stop_step or whole.optimizer_steps, whole.optimizer_steps)
    before, after = (steps.reached(min(step, stop), *sizes) for step in (run.start_step, stop))
    own = steps.Counts(
        after.samples - before.samples,
        after.micro_steps - before.micro_steps,
        steps.segment(whole.optimizer_steps, run.start_step, run.stop_step),
    )
    return own, whole


def show_counts(made: Plan) -> tuple[steps.Counts, steps.Counts] | None:
    """The table of counts, and what the recorded logs say of them."""
    found, run = counts_of(made), made.run
    if found is None:
        print(f"images of {made.asked.flags.get('in_json')} are not counted here; give IMAGES=\n")
        return None
    own, whole = found
    lines = [["images in the data set", f"{made.images:,}", f"{made.images:,}"]]
    lines.append(["samples (images over all GPUs)", f"{own.samples:,}", f"{whole.samples:,}"])
    lines.append(["micro-steps (a process)", f"{own.micro_steps:,}", f"{whole.micro_steps:,}"])
    lines.append(["optimizer steps", f"{own.optimizer_steps:,}", f"{whole.optimizer_steps:,}"])
    tables.show(["counts", "this run", "whole schedule"], lines)
    print(f"{run.epochs or '-'} epoch(s), {run.gpus} GPU(s) x batch {speed.batch_size(run)} x {run.ga} micro-step(s)")
    for log in recorded.read().logs.get(run.run, []):
        print(speed.log_line(run, log))
    print()
    return found


def show_parameters(made: Plan) -> None:
    """What trains, of the full-size models."""
    rows = [
        [model.name, f"{model.trainable:,}", f"{model.total:,}", f"{model.trainable / model.total:.2%}"]
        for model in full_size.models(made.asked.flags)
    ]
    tables.show(["parameters", "train", "of", "share"], rows)
    print()


def memory_of(made: Plan) -> tuple[vram.Setup, vram.Fit] | None:
    """The setup and the fitted constants; None where the flags are beyond the model."""
    if vram.unmodelled(made.asked.flags):
        return None
    return vram.setup(made.asked.flags, made.run.gpus), vram_fit.fit(recorded.read().readings)


def show_memory(made: Plan, memory: tuple[vram.Setup, vram.Fit] | None, card: float, whose: str) -> None:
    """Memory by part, the verdict, and what to change."""
    if memory is None:
        print(f"memory: not modelled for {vram.unmodelled(made.asked.flags)}\n")
        return
    setup, constants = memory
    needed = vram.need(setup, constants)
    rows = [[name, f"{size / vram.GB:.2f}"] for name, size in vram.parts(setup).items()]
    rows.append(["context, NCCL, allocator (fitted)", f"{constants.reserve:.2f}"])
    tables.show(["memory of each GPU", "GB"], [*rows, ["sum", f"{needed:.2f}"]])
    if optimizer_memory.kind(setup.optimizer) is None:
        print(f"--optimizer_type={setup.optimizer} is not in the table; its state is counted as AdamW's")
    if setup.gpus == 1:
        shown = vram.reading(setup, constants, card)
        print(f"nvidia-smi may show up to {shown:.1f} GB: one process's allocator keeps what it once had")
    print(verdict(made, needed, card, whose, constants) + "\n")


def verdict(made: Plan, needed: float, card: float, whose: str, constants: vram.Fit) -> str:
    """Whether it fits, and else the cheapest change that does."""
    head = f"{needed:.1f} GB of {card:g} GB ({whose})"
    if needed <= card:
        close = f"; the model is within {vram_fit.LIMIT:.0%} (make plan-check), so it may not" if needed > 0.9 * card else ""
        return f"fits: {head}{close}"
    upstream = made.asked.trainer == SD_SCRIPTS
    taken, least = advice.first_that_fits(made.asked.flags, made.run.gpus, card, constants, upstream)
    what = "; then ".join(f"{change.text().strip()} (cost: {change.cost})" for change in taken)
    if least > card:
        return f"warning: does not fit: {head}; no change here fits, all together take {least:.1f} GB: {what}"
    return f"warning: does not fit: {head}\ncheapest change that fits ({least:.1f} GB): {what}"


def show_hours(made: Plan, counts: tuple[steps.Counts, steps.Counts] | None, rate: float | None) -> None:
    """Hours of this run and of the whole schedule for each speed, with its source."""
    if counts is None:
        return
    found = [speed.Figure(rate, "IMG_S")] if rate else speed.figures(made.run, registry.read_all(), recorded.read())
    if not found:
        print("hours: no speed is recorded for this configuration; give IMG_S= (images a second over all GPUs)")
        return
    own, whole = counts
    rows = [
        [f"{f.img_s:.3f}", speed.duration(own.samples, f.img_s), speed.duration(whole.samples, f.img_s), f.source]
        for f in found
    ]
    tables.show(["images/s", "this run", "whole schedule", "source"], rows)
    if not rate and made.run.optimizer != "AdamW8bit":
        print(f"these speeds were recorded with AdamW8bit, not with {made.run.optimizer}")
