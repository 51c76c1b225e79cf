"""Shows how far a long task is: a bar on a terminal, a line every half minute in a log."""

import sys
import time
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

EVERY = 30  # seconds between lines where there is no terminal


@contextmanager
def progress(what: str, total: int | None, unit: str, done: int = 0):
    """Give a function of (done, units): `done` out of `total` in any measure, and how many `unit`s that is.

    Shown on stderr with the rate of the units since the start and the time that is left. total: None where nobody
    knows it, then units and rate are all there is to show. done: where it begins, for a task that goes on.
    """
    console = Console(stderr=True)
    shown = _bar(console, what, total, unit, done) if console.is_terminal else _lines(what, total, unit, done)
    with shown as advance:
        yield advance


@contextmanager
def _bar(console: Console, what: str, total: int | None, unit: str, done: int):
    rate = _Rate()
    share = () if total is None else (TaskProgressColumn(),)
    left = () if total is None else (TimeRemainingColumn(elapsed_when_finished=True),)
    shown = (TextColumn("{task.description}"), BarColumn(), *share, TextColumn("{task.fields[rate]}"), *left)
    with Progress(*shown, console=console) as bar:
        task = bar.add_task(what, total=total, completed=done, rate="")
        yield lambda now, units: bar.update(task, completed=now, rate=f"{units:,} {unit}, {rate.told(units)}")


@contextmanager
def _lines(what: str, total: int | None, unit: str, done: int):
    rate, began, last = _Rate(), time.monotonic(), time.monotonic()

    def advance(now: int, units: int) -> None:
        nonlocal last
        clock, speed = time.monotonic(), rate.told(units)
        if clock - last < EVERY:
            return
        last = clock
        line = f"{units:,} {unit}, {speed}"
        if total is not None:
            left = (clock - began) / max(1, now - done) * (total - now)
            line = f"{100 * now / max(1, total):.0f} %, {line}, {left / 60:.1f} minutes left"
        print(f"{what}: {line}", file=sys.stderr, flush=True)

    yield advance


class _Rate:
    """Units a second since the first that was shown."""

    def __init__(self):
        self.began, self.first = time.monotonic(), None

    def of(self, units: int) -> float:
        if self.first is None:
            self.began, self.first = time.monotonic(), units
        return (units - self.first) / max(1e-9, time.monotonic() - self.began)

    def told(self, units: int) -> str:
        """Return the rate for a person: units a second, or seconds a unit where these are longer."""
        speed = self.of(units)
        if speed >= 10 or speed == 0:
            return f"{speed:,.0f}/s"
        return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:,.1f} s each"
