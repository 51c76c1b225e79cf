"""Reads what the recorded runs took: steps and hours of their logs, memory and speed as read (recorded.json)."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from extensions.flags.words import Flags

FILE = Path(__file__).with_name("recorded.json")


@dataclass(frozen=True)
class Log:
    """One TensorBoard log. steps: its last optimizer step. epochs, tte: what the recorded command asked for."""

    log: str
    steps: int
    hours: float
    epochs: int
    tte: str


@dataclass(frozen=True)
class Reading:
    """Memory of one GPU in GB (2**30 bytes) as read on a card of `card` GB; None: it ran out of memory.

    before_first_step: it was read before the optimizer had made any state.
    """

    name: str
    flags: Flags
    gpus: int
    gb: float | None
    card: float
    before_first_step: bool = False
    note: str = ""


@dataclass(frozen=True)
class Speed:
    """Images a second over all GPUs: one figure, or the least and the most of several."""

    name: str
    unet_percent: float
    tte: str
    gpus: int
    ga: int
    img_s: tuple[float, ...]
    hardware: str = ""
    deepspeed: bool = False
    dynamo: bool = False


@dataclass(frozen=True)
class Recorded:
    """schedules: {data set: optimizer steps of one pass on 4 GPUs at 4 micro-steps a step}."""

    logs: dict[str, list[Log]]
    schedules: dict[str, int]
    readings: list[Reading]
    speeds: list[Speed] = field(default_factory=list)


@cache
def read(path: Path = FILE) -> Recorded:
    """Return the file, parsed."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    return Recorded(
        logs={run: [Log(**log) for log in logs] for run, logs in facts["logs"].items()},
        schedules=facts["schedules"],
        readings=[reading(row, facts["common_flags"], facts["card_gb"]) for row in facts["memory"]],
        speeds=[Speed(**row | {"img_s": tuple(row["img_s"])}) for row in facts["speeds"]],
    )


def reading(row: dict, common: str, card: float) -> Reading:
    """One row of the memory table, with the flags that all rows share."""
    flags = Flags.of_text(f"{common} {row['flags']}")
    rest = {name: row[name] for name in ("before_first_step", "note") if name in row}
    return Reading(row["name"], flags, row["gpus"], row["gb"], card, **rest)
