"""Groups a run's curves to charts: what can be read against one axis stands in one, known figures first.

Of what a plugin measures ("validation/held_out/x0"), figures of one name make a chart, a line for each set; what
stands beside a known figure (tags, caption, empty) is drawn with its set, differences apart, an error as error bars.
"""

from dataclasses import replace

from extensions.plan.vram import GB
from extensions.report.charts import WIDE, Chart, Series
from extensions.report.marks import Mark
from extensions.report.records import History

COUNTS = {"micro_step", "samples"}  # lines that only rise
LEAVES = ("x0", "loss")  # of validation, one chart each over all sets
ERROR = "error"
LINES = 6  # of a chart that has no order: as many as there are colours
TITLES = {
    "loss": ("loss, process 0's mean of each optimizer step", "", 1.0),
    "lr": ("learning rate", "", 1.0),
    "images_per_second": ("speed, mean since the launch", "images/s", 1.0),
    "peak_memory_bytes": ("peak memory", "GB", float(GB)),
    "grad_norm": ("gradient norm", "", 1.0),
}


def charts(history: History, marks: list[Mark], levels: dict[str, tuple[float, str]]) -> list[Chart]:
    """Return the charts of a run. levels: {title: (value, what)}, what was planned."""
    groups: dict[str, list[str]] = {}
    for name in history.curves:
        if name not in COUNTS and not is_error(name, history) and len(history.curves[name].bins):
            groups.setdefault(key_of(name), []).append(name)
    known = [key for key in TITLES if key in groups]
    others = sorted((key for key in groups if key not in TITLES), key=lambda key: (not key.endswith("/x0"), key))
    order = [*known, *others]
    drawn = tuple(dict.fromkeys((mark.step, mark.kind) for mark in marks if mark.step is not None))
    found = []
    for key in order:
        found += [replace(chart, marks=drawn, level=levels.get(key)) for chart in of_group(key, groups[key], history)]
    return found


def key_of(name: str) -> str:
    """Return the chart that a curve belongs to."""
    first, *rest = name.split("/")
    if not rest or first in TITLES:
        return first
    if rest[-1].isdigit():
        return "/".join([first, *rest[:-1]])
    if rest[-1] in LEAVES and not any(part.startswith("difference") for part in rest):
        return f"{first}/{rest[-1]}"
    return "/".join([first, *rest[:-1]])


def is_error(name: str, history: History) -> bool:
    """Tell whether a curve is the standard error of the x0 error beside it."""
    head, _, last = name.rpartition("/")
    return last == ERROR and f"{head}/x0" in history.curves


def of_group(key: str, names: list[str], history: History) -> list[Chart]:
    """Return the charts of one group; of more lines than there are colours, several."""
    title, unit, scale = TITLES.get(key, (key.replace("/", ": ", 1).replace("_", " "), "", 1.0))
    listed = all(name.rpartition("/")[2].isdigit() and "/" in name for name in names)
    smooth = key in {"loss", "grad_norm"}
    size = WIDE if key == "loss" else Chart.size
    if listed:
        names = sorted(names, key=lambda name: int(name.rpartition("/")[2]))
        series = [
            Series(history.labels.get(name) or name.rpartition("/")[2], history.curves[name], None, (i, len(names)))
            for i, name in enumerate(names)
        ]
        return [Chart(title, tuple(series), unit, scale, smooth, size=size)]
    series = [Series(short(name, key), history.curves[name], error_of(name, history)) for name in names]
    parts = [series[at : at + LINES] for at in range(0, len(series), LINES)]
    return [Chart(title, tuple(part), unit, scale, smooth, size=size) for part in parts]


def error_of(name: str, history: History):
    """Return the curve of its standard error; None where there is none."""
    head, _, last = name.rpartition("/")
    return history.curves.get(f"{head}/{ERROR}") if last == "x0" else None


def short(name: str, key: str) -> str:
    """Return a curve's name in its chart: without what the chart's title says."""
    first, *rest = name.split("/")
    if not rest:
        return first
    if key == f"{first}/{rest[-1]}" and len(rest) > 1:
        return "/".join(rest[:-1])
    return "/".join(rest) if first == key else rest[-1]
