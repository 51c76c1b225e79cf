"""Follows a run that trains, or has ended: reads what is new of it, and says how far it is and what is left."""

import fcntl
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from extensions.base import manifest, paths
from extensions.base.errors import UserError
from extensions.launch import output_lock
from extensions.logbook.registry import Run
from extensions.plan import speed
from extensions.plan.vram import GB
from extensions.report import pages, planned, records
from extensions.report.curves import Curve
from extensions.report.metrics import Metrics
from extensions.report.overview import HELD_OUT
from extensions.report.planned import Expected
from extensions.report.records import History, Record
from extensions.resume import states

SIGNS = {True: "▁▂▃▄▅▆▇█", False: "_.-=*#"}  # of a sparkline: where the terminal shows them, and elsewhere
LENGTH = 48  # of a sparkline
SETTLE = 3.0  # seconds that a next launch, after a roll-back, has to appear


class Follower:
    """One run under way. Only what was added to its newest launch is read each time.

    find: looks for the run's record anew. runs: those that have launchers.
    """

    def __init__(self, find, runs: Mapping[str, Run]):
        self.find, self.runs = find, runs
        self.take(find())

    def take(self, record: Record) -> None:
        """Begin to follow the newest launch of a record."""
        self.record = record
        earlier = (
            records.history(replace(record, launches=record.launches[:-1])) if record.launches[1:] else History()
        )
        self.earlier, self.metrics = earlier, Metrics()
        self.ended_at: float | None = None
        self.expected: Expected | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read what is new."""
        launch = self.record.launches[-1]
        known = launch.record
        with suppress(UserError, OSError):  # a record that is being replaced, or damaged, is what it was
            launch = replace(launch, record=records.sound(manifest.read(launch.folder) or launch.record)[0])
        self.record = replace(self.record, launches=(*self.record.launches[:-1], launch))
        if launch.metrics.is_file():
            self.metrics.read_on(launch.metrics)
        found = History(labels=self.earlier.labels | self.metrics.labels)
        for curves in (self.earlier.curves, self.metrics.curves):
            for name, curve in curves.items():
                found.curves.setdefault(name, Curve()).join(curve)
        self.history = found
        if self.expected is None or launch.record != known:
            self.expected = planned.expected(launch.record, self.runs)

    def over(self) -> bool:
        """Tell whether the run has ended: its record says so, or nobody trains into its folder; and none follows."""
        launch = self.record.launches[-1]
        if launch.record.ended is None and launch.record.exit_code is None and not self.abandoned():
            self.ended_at = None
            return False
        newest = self.find()
        if newest.launches[-1].folder != launch.folder:
            self.take(newest)
            return False
        self.ended_at = time.monotonic() if self.ended_at is None else self.ended_at
        return launch.record.exit_code == 0 or time.monotonic() - self.ended_at > SETTLE

    def abandoned(self) -> bool:
        """Tell whether the lock of the run's output is there and free: a launch was killed. False where unknown."""
        output = self.record.launches[-1].record.flags.get("output_dir")
        if not isinstance(output, str) or not self.metrics.offset:
            return False
        try:
            with open(Path(output) / output_lock.FILE, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (OSError, ValueError):  # held, not here, or on a disk without locks
            return False
        return True

    def lines(self, out: Path, wide_signs: bool = True) -> list[tuple[str, str]]:
        """Return (name, text) of what there is to say. out: the folder of the pages."""
        launch, history, signs = self.record.launches[-1], self.history, SIGNS[wide_signs]
        found = [("run", f"{self.record.key}, {self.state()}"), ("run folder", paths.shown(launch.folder))]
        step, end = history.step, self.end()
        share = f" of {end:,} ({min(1.0, step / end):.1%})" if end else ""
        found.append(("optimizer steps", f"{step:,}{share}"))
        for name, key in (("loss", "loss"), ("validation x0", HELD_OUT)):
            if (curve := history.curves.get(key)) is not None and len(curve.bins):
                found.append((name, f"{sparkline(curve, signs)} {curve.smoothed()[-1]:.4f}"))
        found += [("images/s", self.speed()), ("peak memory", self.memory()), ("last state", self.last_state())]
        found.append(("time left", self.left()))
        page = out / pages.page_of("run", self.record.key)
        found.append(("page", page.resolve().as_uri() if page.is_file() else "none yet: make report writes it"))
        return [(name, text) for name, text in found if text]

    def end(self) -> int | None:
        """Return the optimizer step at which it ends, where that is known."""
        return self.expected.end if self.expected else None

    def state(self) -> str:
        """Return whether it trains, or how it ended."""
        launch = self.record.launches[-1]
        if launch.record.exit_code is not None:
            return "done" if launch.record.exit_code == 0 else f"ended with exit code {launch.record.exit_code}"
        if self.abandoned():
            return "no process trains, and no end is recorded: it was killed; RESUME=auto goes on"
        return f"last line {ago(launch.metrics)}" if launch.metrics.is_file() else "starting"

    def speed(self) -> str:
        """Return images a second, against the plan's."""
        measured = self.history.last("images_per_second")
        if measured is None:
            return ""
        speeds = [each.img_s for each in self.expected.speeds] if self.expected else []
        plan = f", planned {min(speeds):.2f} to {max(speeds):.2f}" if speeds else ", no speed is planned"
        return f"{measured:.3g}{plan}"

    def memory(self) -> str:
        peak = self.history.last("peak_memory_bytes")
        return "" if peak is None else f"{peak / GB:.2f} GB"

    def last_state(self) -> str:
        """Return the newest training state, where its folder can be seen from here."""
        output = self.record.launches[-1].record.flags.get("output_dir")
        try:
            found = states.found(states.folder_of(Path(str(output))))[0] if output else []
        except (UserError, OSError):
            found = []
        if not found:
            return "none seen from here"
        written = time.time() - found[0].facts.written_ns / 1e9
        return f"optimizer step {found[0].optimizer_steps:,}, {duration(written)} ago"

    def left(self) -> str:
        """Return the time that is left at the measured speed; nothing where the run has ended."""
        if self.record.launches[-1].record.exit_code is not None or self.expected is None:
            return ""
        img_s, samples = self.history.last("images_per_second"), self.history.last("samples")
        if not img_s or samples is None or self.expected.samples is None or img_s < 0:
            return "unknown"
        rest = max(0, self.expected.samples - samples)
        return speed.duration(int(rest), img_s) if rest / img_s >= 3600 else duration(rest / img_s)


def sparkline(curve: Curve, signs: str) -> str:
    """Return a curve's smoothed way in one line of signs."""
    thin = curve.thinned(LENGTH) if len(curve.bins) > LENGTH else curve
    values = thin.means() if len(curve.bins) <= LENGTH else thin.smoothed()
    low, high = float(values.min()), float(values.max())
    span = (high - low) or 1.0
    return "".join(signs[round((float(value) - low) / span * (len(signs) - 1))] for value in values)


def duration(seconds: float) -> str:
    """Return seconds for a person."""
    if seconds < 120:
        return f"{max(0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def ago(path: Path) -> str:
    """Return how long ago a file was written to."""
    try:
        return f"{duration(time.time() - os.stat(path).st_mtime)} ago"
    except OSError:
        return "not to be seen"
