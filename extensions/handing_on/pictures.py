"""Puts the pictures of a card into its folder: curves as the pages draw them, and the last grid of samples."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from extensions.base.saving import write_text
from extensions.handing_on.subject import Subject
from extensions.report import charts, grids, grouped, marks
from extensions.report.charts import Chart
from extensions.report.records import History

CURVES, SAMPLES = "curves", "samples"
SHOWN = ("loss", "validation/x0", "lr")  # the charts that a card has, in this order
SIZE = (720, 280)  # pixels


@dataclass(frozen=True)
class Sample:
    """A grid. said: what it was drawn with, empty unless that was asked for."""

    step: str
    file: str
    said: str = ""


def curves(subject: Subject, folder: Path) -> list[tuple[str, str]]:
    """Draw the charts; [(title, file), …]."""
    if not subject.record:
        return []
    history = History(
        {name: curve for name, curve in subject.history.curves.items() if grouped.key_of(name) in SHOWN},
        subject.history.labels,
        subject.history.launched,
    )
    drawn = sorted(grouped.charts(history, marks.of(subject.history), {}), key=place)
    found = []
    for number, chart in enumerate(drawn, start=1):
        file = f"{CURVES}/{number}-{re.sub('[^a-z0-9]+', '-', chart.title.lower())[:40].strip('-')}.svg"
        (folder / CURVES).mkdir(exist_ok=True)
        write_text(folder / file, charts.drawn(replace(chart, size=SIZE), charts.ON_PAPER))
        found.append((chart.title, file))
    return found


def place(chart: Chart) -> int:
    """Return the place of a chart: the loss first, the rates last."""
    titles = [grouped.TITLES.get(key, (key,))[0] for key in SHOWN]
    return titles.index(chart.title) if chart.title in titles else 1


def sample(subject: Subject, folder: Path, prompts: bool) -> Sample | None:
    """Put the newest grid that is whole into the folder; None where there is none.

    Its pixels alone: what it was drawn with stands in the file, captions of images among it.
    """
    if not subject.record:
        return None
    for step, path in sorted(grids.files_of(subject.record).items(), reverse=True):
        grid = grids.copy(step, path, folder / SAMPLES, f"step{step:08d}.png")
        if grid and bare(folder / SAMPLES / grid.name):
            return Sample(f"{step:,}", f"{SAMPLES}/{grid.name}", grid.said if prompts else "")
    return None


def bare(path: Path) -> bool:
    """Write a picture anew without anything but its pixels; without one that is damaged, which goes, False."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        path.unlink()
        return False
    pixels.info = {}
    pixels.save(path)
    return True
