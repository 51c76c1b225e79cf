"""Lays out the tables of a plan, in the order of the questions: how much work, what trains, does it fit, how long."""

from collections.abc import Callable

from extensions.flags import blend
from extensions.launch import blends
from extensions.launch.stages import SD_SCRIPTS, Asked
from extensions.logbook import registry, steps, tables
from extensions.model.recomputation import AUTO, MARGIN
from extensions.plan import (
    advice,
    averages,
    communication,
    evaluation,
    levers,
    mixing,
    optimizer_memory,
    plan,
    recorded,
    samples,
    speed,
    trained,
    vram,
    vram_fit,
)
from extensions.plan.plan import Plan

CLOSE = 0.9  # of the card: from here on the model's error decides


def show(name: str, environment: dict[str, str], check: Callable[[Asked], None]) -> None:
    """Print the plan of a run. UserError before the first line for what cannot be planned, or `check` refuses."""
    planned = plan.read(name, environment)
    card, whose = plan.card_of(environment, planned.head)
    rate, bus = plan.stated_rate(environment), plan.stated_bus(environment)
    models, memory = trained_models(planned), memory_of(planned)
    check(planned.asked)
    print(f"model_out_{planned.run.run}: {planned.head.words}\n")
    unread(planned)
    base = planned.asked.flags.get(blends.FLAG)
    if blend.is_blend(base):
        print(f"base: {blend.of_text(base, f'--{blends.FLAG}').text}, which the first launch makes\n")
    counts = show_counts(planned)
    show_parameters(models)
    show_memory(planned, memory, card, whose)
    show_levers(planned, memory, card)
    show_averages(planned)
    show_hours(planned, counts, rate)
    show_communication(memory, bus)
    if found := evaluation.of(planned.asked):
        print(found.text())
    if drawn := samples.of(planned.asked, planned.images):
        print(drawn.text())


def trained_models(planned: Plan) -> list[trained.Model]:
    """Return the models of the run."""
    return trained.models(planned.asked.settings)


def unread(planned: Plan) -> None:
    """Say which flags of ARGS make no difference to the plan."""
    if names := [f"--{name}" for name in planned.asked.extra.values if name not in plan.READ]:
        print(f"ARGS: the plan does not depend on {', '.join(names)}\n")


def show_counts(planned: Plan) -> tuple[steps.Counts, steps.Counts] | None:
    """Return the table of counts, and what the recorded logs say of them."""
    found, run = plan.counts_of(planned), planned.run
    if found is None:
        print(f"images of {planned.asked.flags.get('in_json')} are not counted here; give IMAGES=\n")
        return None
    own, whole = found
    lines = [["images to train on", f"{planned.images:,}", f"{planned.images:,}"]]
    lines.append(["samples (images over all GPUs)", f"{own.samples:,}", f"{whole.samples:,}"])
    lines.append(["micro-steps (a process)", f"{own.micro_steps:,}", f"{whole.micro_steps:,}"])
    lines.append(["optimizer steps", f"{own.optimizer_steps:,}", f"{whole.optimizer_steps:,}"])
    tables.show(["counts", "this run", "whole schedule"], lines)
    if mixed := mixing.rows(planned.asked):
        tables.show(["source", "images", "samples an epoch", "optimizer steps"], mixed)
    print(f"{run.epochs or '-'} epoch(s), {run.gpus} GPU(s) x batch {run.batch_size} x {run.ga} micro-step(s)")
    for line in recorded_lines(planned.launcher):
        print(line)
    print()
    return found


def recorded_lines(run: registry.Run) -> list[str]:
    """Return what the records say of a launcher's steps."""
    known = recorded.read()
    lines = [speed.log_line(run, log) for log in known.logs.get(run.run, [])]
    if run.data in known.schedules:
        lines.append(f"recorded for the {run.data} dataset: {known.schedules[run.data]:,} optimizer steps in all")
    return lines


def show_parameters(models: list[trained.Model]) -> None:
    """Show what trains, of the full-size models."""
    rows = [
        [model.name, f"{model.trainable:,}", f"{model.total:,}", f"{model.trainable / model.total:.2%}"]
        for model in models
    ]
    tables.show(["parameters", "train", "of", "share"], rows)
    print()


def memory_of(planned: Plan) -> tuple[vram.Setup, vram.Fit] | None:
    """Return the setup and the fitted constants; None where the flags are beyond the model."""
    if vram.unmodelled(planned.asked.flags):
        return None
    return vram.setup(planned.asked.flags, planned.run.gpus), vram_fit.fit(vram_fit.known(recorded.read().readings))


def show_memory(planned: Plan, memory: tuple[vram.Setup, vram.Fit] | None, card: float, whose: str) -> None:
    """Memory by part, the verdict, and what to change."""
    if memory is None:
        print(f"memory: not modelled for {vram.unmodelled(planned.asked.flags)}\n")
        return
    setup, constants = memory
    needed = vram.need(setup, constants)
    rows = [[name, f"{size / vram.GB:.2f}"] for name, size in vram.parts(setup).items()]
    rows.append(["context, NCCL, allocator (fitted)", f"{constants.reserve:.2f}"])
    tables.show(["memory of each GPU", "GB"], [*rows, ["sum", f"{needed:.2f}"]])
    if optimizer_memory.kind(setup.optimizer) is None:
        print(f"--optimizer_type={setup.optimizer} is not in the table; its state is counted as AdamW's")
    if setup.gpus == 1:
        shown = vram.shown(needed, 1, card, constants)
        print(f"nvidia-smi may show up to {shown:.1f} GB: one process's allocator keeps what it once had")
    print(verdict(planned, needed, card, whose, constants))
    if line := recomputed(planned, setup, needed, card):
        print(line)
    print()


def recomputed(planned: Plan, setup: vram.Setup, needed: float, card: float) -> str:
    """Say what --recompute keeps; where it is to find that out itself, what the card has to spare. GB."""
    if setup.kept is None:
        return ""
    if setup.recompute != AUTO:
        return f"recompute={setup.recompute}: {setup.kept.text()}"
    spare = max(0.0, (1 - MARGIN) * card - needed)
    kept = vram.kept(planned.asked.settings, setup.shape, spare * vram.GB)
    return f"recompute=auto: {spare:.1f} GB to spare (a run measures it): {kept.text()}"


def show_levers(planned: Plan, memory: tuple[vram.Setup, vram.Fit] | None, card: float) -> None:
    """What several GPUs need lever by lever, and what speed to expect."""
    found = levers.of(planned.asked.flags, planned.run.gpus, card, memory[1]) if memory else []
    if found:
        tables.show(levers.HEAD, levers.rows(found))
        print(f"speeds as of four RTX 3090 on the machine with the fastest memory, {communication.LONG_HOST}\n")


def show_averages(planned: Plan) -> None:
    """Show what averages of the weights take, where the run has any."""
    if cost := averages.of_run(planned.asked.flags, planned.asked.settings, planned.asked.gpus):
        tables.show(["averages of the weights", "GB"], cost.lines())
        print()


def verdict(planned: Plan, needed: float, card: float, whose: str, constants: vram.Fit) -> str:
    """Tell whether it fits, and else the cheapest change that does."""
    head = f"{needed:.1f} GB of {card:g} GB ({whose})"
    if needed <= CLOSE * card:
        return f"fits: {head}"
    if needed <= card:
        return f"fits, just: {head}; the model is good to {vram_fit.LIMIT:.0%} (make plan-check)"
    upstream = planned.asked.trainer == SD_SCRIPTS
    change, least = advice.first_that_fits(planned.asked.flags, planned.run.gpus, card, constants, upstream)
    if least > card:
        return (
            f"warning: does not fit: {head}\nno change here fits; all together take {least:.1f} GB: {change.text()}"
        )
    return f"warning: does not fit: {head}\ncheapest that fits ({least:.1f} GB): {change.text()}\ncost: {change.cost}"


def show_hours(planned: Plan, counts: tuple[steps.Counts, steps.Counts] | None, rate: float | None) -> None:
    """Hours of this run and of the whole schedule for each speed, with its source."""
    if counts is None:
        return
    found = (
        [speed.Figure(rate, "IMG_S")] if rate else speed.figures(planned.run, registry.read_all(), recorded.read())
    )
    if not found:
        print("hours: no speed is recorded for this configuration; give IMG_S= (images a second over all GPUs)")
        return
    own, whole = counts
    rows = [
        [f"{f.img_s:.3f}", speed.duration(own.samples, f.img_s), speed.duration(whole.samples, f.img_s), f.source]
        for f in found
    ]
    tables.show(["images/s", "this run", "whole schedule", "source"], rows)
    if not rate and planned.run.optimizer != "AdamW8bit":
        print(f"these speeds were recorded with AdamW8bit, not with {planned.run.optimizer}")


def show_communication(memory: tuple[vram.Setup, vram.Fit] | None, bus: float | None) -> None:
    """What several GPUs exchange, and how long that takes; micro-steps are counted as the recorded ones."""
    exchange = communication.of(memory[0]) if memory else None
    if exchange is None:
        return
    print()
    tables.show(communication.HEAD, communication.rows(exchange, bus))
    if bus is None:
        print(
            "with NVLink, or another machine: give BUS= (GB/s of a sum over all GPUs, as make gpu-check measures it)"
        )
