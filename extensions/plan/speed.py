"""Computes how long a run takes: images a second as recorded for the same configuration, or as a person states."""

from dataclasses import dataclass

from extensions.logbook import steps
from extensions.logbook.registry import Run
from extensions.plan.recorded import Log, Recorded, Speed

MACHINE_GPUS = (1, 2, 4)


@dataclass(frozen=True)
class Explained:
    """The schedule that a log's last step belongs to. differs: where the launcher says otherwise."""

    epochs: int
    data: str
    gpus: int
    optimizer_steps: int
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A speed in images a second over all GPUs, and where it comes from."""

    img_s: float
    source: str


def explain(run: Run, log: Log) -> Explained | None:
    """Return the schedule of a complete log, nearest to what the launcher says; None for one that was stopped.

    A log does not say its GPUs, data set and epochs; of those that end at its last step, the one with the
    fewest differences from the launcher is taken, and of equals one on the launcher's GPUs.
    """
    found = []
    for epochs in dict.fromkeys([run.epochs or log.epochs, log.epochs]):
        for data in dict.fromkeys([run.data, *(name for name in ("6k", "20") if name != run.data)]):
            for gpus in dict.fromkeys([run.gpus, *MACHINE_GPUS]):
                total = schedule(run, data, epochs, gpus)
                if total == log.steps:
                    differs = differences(run, log, epochs, data, gpus)
                    found.append(Explained(epochs, data, gpus, total, differs))
    return min(found, key=lambda one: (len(one.differs), one.gpus != run.gpus), default=None)


def schedule(run: Run, data: str, epochs: int, gpus: int) -> int | None:
    """Optimizer steps on other data, epochs or GPUs than the launcher's; None for data of unknown size."""
    if data not in steps.IMAGES:
        return None
    return steps.count(steps.IMAGES[data], epochs, gpus, run.batch_size, run.ga).optimizer_steps


def differences(run: Run, log: Log, epochs: int, data: str, gpus: int) -> tuple[str, ...]:
    """Return what a log's run had otherwise than the launcher."""
    pairs = (
        (f"{gpus} GPU(s)", run.gpus, gpus),
        (f"the {data} dataset", run.data, data),
        (f"{epochs} epoch(s)", run.epochs, epochs),
        (f"text encoders {log.tte}", run.tte, log.tte),
    )
    return tuple(what for what, said, found in pairs if said != found)


def log_line(run: Run, log: Log) -> str:
    """Return what a log says of its run, and where it differs from the launcher."""
    head = f"{log.log}: {log.steps:,} optimizer steps in {log.hours:g} h"
    found = explain(run, log)
    if found is None:
        whole = "" if run.steps is None else f" of the launcher's {run.steps:,}"
        return f"{head}{whole}: no whole schedule on 1, 2 or 4 GPUs; stopped early, or other data"
    if found.differs:
        counted = "has" if run.steps is None else f"has {run.steps:,} steps:"
        what = f"{arithmetic(run, found)}, which is {' and '.join(found.differs)}"
        return f"{head} = {what}; the launcher {counted} {said(run)}"
    return f"{head}, as the launcher counts"


def arithmetic(run: Run, found: Explained) -> str:
    """Return how a schedule gives its optimizer steps, as the launchers' headers put it; each division rounds up."""
    return (
        f"{steps.IMAGES[found.data]:,} images x {found.epochs} epoch(s) / "
        f"({found.gpus} GPU(s) x {run.batch_size} x {run.ga})"
    )


def said(run: Run) -> str:
    """Return the launcher's own words for what a log may have otherwise."""
    return f"{run.gpus} GPU(s), the {run.data} dataset, {run.epochs} epoch(s), text encoders {run.tte}"


def configuration(run: Run) -> tuple:
    """Return what must be equal for a speed to carry over; the optimizer matters little and is left out."""
    engine = ("deepspeed" in run.flags, "torch_compile" in run.flags)
    return run.script, run.unet_percent, run.tte, run.gpus, run.ga, run.batch_size, *engine


def stated(speed: Speed) -> tuple:
    """Return the same of a row of the speed table; all are SDXL at batch size 1."""
    engine = (speed.deepspeed, speed.dynamo)
    return "sdxl_train.py", speed.unet_percent, speed.tte, speed.gpus, speed.ga, 1, *engine


def figures(run: Run, runs: dict[str, Run], recorded: Recorded) -> list[Figure]:
    """Return every recorded speed of this configuration, slowest first; else of the run's own logs; else none."""
    wanted = configuration(run)
    found = [
        Figure(value, f"recorded for {speed.name}" + (f", {speed.hardware}" if speed.hardware else ""))
        for speed in recorded.speeds
        if stated(speed) == wanted
        for value in speed.img_s
    ]
    for name, logs in recorded.logs.items():
        if name in runs:
            found += [figure for log in logs if (figure := of_log(runs[name], log, wanted))]
    if not found and run.run in runs and configuration(runs[run.run]) == wanted:
        logs = recorded.logs.get(run.run, [])
        found = [figure for log in logs if (figure := of_log(run, log, None))]
    return sorted(found, key=lambda figure: figure.img_s)


def of_log(run: Run, log: Log, wanted: tuple | None) -> Figure | None:
    """Return the speed of a complete log, if its run had the wanted configuration; None wants any, and says which."""
    found = explain(run, log)
    if found is None:
        return None
    script, percent, _, _, *rest = configuration(run)
    if wanted is not None and (script, percent, log.tte, found.gpus, *rest) != wanted:
        return None
    otherwise = f" on {' and '.join(found.differs)}" if wanted is None and found.differs else ""
    samples = steps.count(steps.IMAGES[found.data], found.epochs, found.gpus, run.batch_size, run.ga).samples
    return Figure(
        samples / (log.hours * 3600), f"log of {run.run}: {log.steps:,} steps in {log.hours:g} h{otherwise}"
    )


def duration(samples: int, img_s: float) -> str:
    """Hours, and days from two on."""
    hours = samples / img_s / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours:,.0f} h ({hours / 24:.1f} days)"
