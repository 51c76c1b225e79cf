"""Holds what a run has measured against what was planned: by the plan's rules, from the recorded flags."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from extensions.base import secrets
from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.flags.words import Flags
from extensions.launch import asked as request
from extensions.logbook import registry, steps
from extensions.logbook.header import Header
from extensions.logbook.registry import Run
from extensions.plan import plan, recorded, speed, vram, vram_fit
from extensions.plan.plan import Plan
from extensions.report.records import TINY, History


@dataclass(frozen=True)
class Expected:
    """What a run is to be. end: optimizer step at which it ends; whole: of its schedule; None where unknown.

    samples: of the whole run up to its end. speeds: images a second that are recorded for its like, slowest first.
    memory: GB of a GPU. why_not: what there is no plan for.
    """

    end: int | None = None
    whole: int | None = None
    samples: int | None = None
    speeds: tuple[speed.Figure, ...] = ()
    memory: float | None = None
    why_not: str = ""


def expected(record: Manifest, runs: Mapping[str, Run]) -> Expected:
    """Return what the recorded flags make a run. runs: those that have launchers."""
    try:
        planned = planned_of(record)
        counts = plan.counts_of(planned) if planned.images and processes_whole(record) else None
        end = counts[1].optimizer_steps if counts else planned.run.steps
        stop = min((step for step in (end, planned.run.stop_step) if step is not None), default=None)
        samples = reached(planned, stop)
        if record.profile == TINY:
            return Expected(stop, end, samples, why_not="a tiny run has no plan of memory and speed")
        speeds = tuple(speed.figures(planned.run, dict(runs), recorded.read()))
        return Expected(stop, end, samples, speeds, memory_of(planned))
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as error:  # flags of other versions
        return Expected(why_not=f"no plan: {error}")


def memory_of(planned: Plan) -> float | None:
    """Return GB of a GPU; None where the flags are beyond the model."""
    flags = planned.asked.flags
    return None if vram.unmodelled(flags) else vram.need(vram.setup(flags, planned.run.gpus), fitted())


@cache
def fitted() -> vram_fit.Fit:
    """Return the memory model's constants, which take a second to fit."""
    return vram_fit.fit(vram_fit.known(recorded.read().readings))


def processes_whole(record: Manifest) -> bool:
    return isinstance(record.processes, int) and record.processes > 0


def planned_of(record: Manifest) -> Plan:
    """Return the recorded run as the planner has one."""
    words = Flags.of({name: words_of(value) for name, value in record.flags.items()}).words()
    asked = request.read([record.run, f"GPUS={record.processes}", record.script or "sdxl_train.py", *words], {})
    run = registry.run_of(asked, Header())
    return Plan(asked, run, run, Header(), record.images or steps.IMAGES.get(run.data))


def words_of(value) -> list[str]:
    """Return the words after a flag, as the manifest has them."""
    if value is True:
        return []
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def reached(planned: Plan, step: int | None) -> int | None:
    """Samples of a run up to an optimizer step."""
    if step is None or not planned.images:
        return None
    run = planned.run
    return steps.reached(step, planned.images, run.gpus, run.batch_size, run.ga).samples


def rows(found: Expected, history: History, record: Manifest) -> list[list[str]]:
    """Return [figure, planned, measured] of a run; "-" where one is not known."""
    last = history.step
    lines = [["optimizer steps", number(found.end), number(last or None)]]
    lines.append(["samples (images over all processes)", number(found.samples), number(history.last("samples"))])
    img_s = history.last("images_per_second")
    spread = sorted({f"{each.img_s:.2f}" for each in (found.speeds[:1] + found.speeds[-1:])}, key=float)
    lines.append(
        ["images/s, last launch's mean", " to ".join(spread) or "-", "-" if img_s is None else f"{img_s:.3g}"]
    )
    peak = history.last("peak_memory_bytes")
    on_card = bool(record.hardware.get("gpus")) if isinstance(record.hardware, dict) else False
    planned = "-" if found.memory is None or not on_card else f"{found.memory:.1f}"
    whose = "GB of a GPU" if on_card else "GB of the process, on a CPU"
    lines.append([f"peak memory, {whose}", planned, "-" if peak is None else f"{peak / vram.GB:.2f}"])
    if found.samples and img_s:
        hours = [speed.duration(found.samples, each.img_s) for each in (found.speeds[-1:] + found.speeds[:1])]
        lines.append(
            [
                "all of it at this speed",
                " to ".join(dict.fromkeys(hours)) or "-",
                speed.duration(found.samples, img_s),
            ]
        )
    return lines


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def flags_of(record: Manifest) -> dict[str, str]:
    """Return the recorded flags as texts; what looks like a secret by its name alone."""
    found = {name: "on" if value is True else " ".join(words_of(value)) for name, value in record.flags.items()}
    return {name: "(a secret)" if secrets.is_secret(name, value) else value for name, value in found.items()}
