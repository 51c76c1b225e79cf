"""Shows a run in the terminal as it goes (make watch): redrawn in place; without a terminal a summary, once."""

import sys
import time
from pathlib import Path

from extensions.base import paths
from extensions.base.errors import UserError, printable
from extensions.report import overview, records
from extensions.report.following import Follower
from extensions.report.records import Record, natural

EVERY = 2.0  # seconds between two looks


def main(name: str, out: Path) -> int:
    """Follow a run to its end; the exit code. UserError for one that has no record."""
    if not name:
        raise UserError("make watch needs a run: RUN=25022601, or RUN=<the path of a run folder>")
    follower = Follower(lambda: newest(name), overview.launchers()[0])
    if is_terminal():
        show(follower, out)
    else:
        for what, text in follower.lines(out, can_show("▁█")):
            print(f"{what}: {printable(text)}")
    return 0


def newest(name: str) -> Record:
    """Return the record, of those of a run, whose launch is the newest."""
    return max(records.find(name, paths.LOGS), key=lambda record: natural(record.launches[-1].folder.name))


def is_terminal() -> bool:
    """Tell whether a terminal is there whose lines can be drawn anew."""
    from rich.console import Console

    console = Console()
    return console.is_terminal and not console.is_dumb_terminal


def can_show(signs: str) -> bool:
    """Tell whether the output's encoding has these signs."""
    try:
        signs.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def show(follower: Follower, out: Path) -> None:
    """Draw it until the run has ended. KeyboardInterrupt ends it, and not the run."""
    from rich.live import Live

    wide = can_show("▁█")
    live = Live(auto_refresh=False, redirect_stderr=False)
    try:  # no `with`: an interrupt while it starts would leave the cursor hidden
        live.start()
        live.update(drawn(follower, out, wide), refresh=True)
        while not follower.over():
            time.sleep(EVERY)
            follower.refresh()
            live.update(drawn(follower, out, wide), refresh=True)
        live.update(drawn(follower, out, wide), refresh=True)
    finally:
        live.stop()


def drawn(follower: Follower, out: Path, wide: bool):
    """Return the table, with a bar where the run's end is known."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for what, text in follower.lines(out, wide):
        table.add_row(what, Text(printable(text)))  # Text, for brackets in it are no markup
        if what == "optimizer steps" and (end := follower.end()):
            table.add_row("", ProgressBar(end, follower.history.step, width=48))
    return table
