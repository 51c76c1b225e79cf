"""Makes the page of runs against each other: their curves, paired validation differences, flags that differ."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from extensions.base.errors import UserError
from extensions.logbook.registry import Run
from extensions.report import differing, grouped, overview, pages
from extensions.report.charts import Chart, Series
from extensions.report.overview import HELD_OUT, Told
from extensions.report.pages import Site
from extensions.report.paired import differences
from extensions.report.records import History

MOST = 6  # runs: as many as there are colours
FIRST = "validation/difference_to_first"
SAME = 1e-9  # relative: two figures of the same weights on the same set

PAIRED = (
    "Both begin with the same figure, at optimizer step {:,}: the same held-out images and base. The error of the "
    "difference is that of each run's paired difference to its first evaluation, added in squares."
)
EXACT = (
    "Both were asked the same questions of the same images: the difference is that of each image's own errors, and "
    "so is its error."
)
UNPAIRED = (
    "They begin with different figures, so with other images or another base: the errors are added in squares, as "
    "those of two sets that have nothing in common."
)


def write(site: Site, told: list[Told], runs: Mapping[str, Run]) -> Path:
    """Write the page of some runs. UserError for fewer than two, or more than can be told apart."""
    if not 2 <= len(told) <= MOST:
        raise UserError(f'{len(told)} run(s) to compare; give two to {MOST}, e.g. RUNS="25022501 25022601"')
    keys = [one.record.key for one in told]
    pairs = list(combinations(told, 2))
    return site.write(
        pages.page_of("compare", *keys),
        "compare",
        " and ".join(keys),
        index=(site.folder / overview.INDEX).is_file(),
        notes=overview.damages(told),
        columns=overview.COLUMNS,
        rows=[overview.row(one, runs) for one in told],
        charts=site.draw(charts(told)),
        pairs=[pair for one, other in pairs if (pair := validated(one, other))],
        differing=[
            {
                "name": f"{one.record.key} and {other.record.key}",
                "columns": ["name", one.record.key, other.record.key],
                "rows": [
                    [d.name, d.left, d.right]
                    for d in differing.between(one.record, other.record, (one.record.run, other.record.run), runs)
                ],
            }
            for one, other in pairs
        ],
    )


def charts(told: list[Told]) -> list[Chart]:
    """Return a chart for every curve that at least two of the runs have."""
    names: dict[str, int] = {}
    for one in told:
        for name in one.history.curves:
            if name not in grouped.COUNTS and not grouped.is_error(name, one.history):
                names[name] = names.get(name, 0) + 1
    found = []
    for name in sorted((n for n, count in names.items() if count > 1), key=place):
        history = next(each.history for each in told if name in each.history.curves)
        chart = grouped.of_group(grouped.key_of(name), [name], history)[0]
        title = chart.title if "/" not in name else name.replace("/", ": ", 1).replace("_", " ")
        if name in history.labels:
            title = f"{name.rpartition('/')[0].replace('_', ' ')}: {history.labels[name]}"
        lines = tuple(
            Series(each.record.key, each.history.curves[name], grouped.error_of(name, each.history))
            for each in told
            if name in each.history.curves
        )
        found.append(replace(chart, title=title, series=lines))
    return found


def place(name: str) -> tuple[int, str]:
    """Return where a curve's chart stands: loss, validation, then by name."""
    return (0 if name == "loss" else 1 if name == HELD_OUT else 2, name)


def at_steps(history: History, name: str) -> dict[int, float]:
    """Return {optimizer step: value} of a curve of few values, each at its own step."""
    curve = history.curves.get(name)
    if curve is None or curve.width > 1:
        return {}
    return dict(zip(map(int, curve.bins), map(float, curve.means()), strict=True))


def validated(one: Told, other: Told) -> dict | None:
    """Return the paired differences of two runs at the optimizer steps that both have; None without one."""
    mine, theirs = (at_steps(each.history, HELD_OUT) for each in (one, other))
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        return None
    exact = differences(one.record, other.record)
    if all(step in exact for step in common):
        said = EXACT
        spread = {step: exact[step]["error"] for step in common}
    else:
        said, spread = by_figures((one, other), common)
    errors = [at_steps(each.history, HELD_OUT.replace("x0", "error")) for each in (one, other)]
    rows = []
    for step in common:
        cells = [
            with_error(values[step], error.get(step)) for values, error in zip((mine, theirs), errors, strict=True)
        ]
        rows.append([f"{step:,}", *cells, with_error(mine[step] - theirs[step], spread[step], sign="+")])
    keys = [each.record.key for each in (one, other)]
    return {
        "name": " and ".join(keys),
        "said": said,
        "rows": rows,
        "columns": ["optimizer step", *keys, f"{keys[0]} less {keys[1]}"],
    }


def by_figures(both: tuple[Told, Told], common: list[int]) -> tuple[str, dict[int, float | None]]:
    """Return (what is said of it, {optimizer step: error of the difference}) from what the runs' metrics hold."""
    figures = [at_steps(each.history, HELD_OUT) for each in both]
    errors = [at_steps(each.history, HELD_OUT.replace("x0", "error")) for each in both]
    moved = [at_steps(each.history, f"{FIRST}/x0") for each in both]
    moved_errors = [at_steps(each.history, f"{FIRST}/error") for each in both]
    began = [min(each) for each in figures]
    paired = began[0] == began[1] and np.isclose(figures[0][began[0]], figures[1][began[1]], rtol=SAME, atol=0)
    found: dict[int, float | None] = {}
    for step in common:
        of = moved_errors if paired and all(step in each for each in (*moved, *moved_errors)) else errors
        spread = [each[step] for each in of if step in each]
        found[step] = math.hypot(*spread) if len(spread) == len(of) else None
    return PAIRED.format(began[0]) if paired else UNPAIRED, found


def with_error(value: float, error: float | None, sign: str = "") -> str:
    """Return a value with its standard error, where it is known."""
    return f"{value:{sign}.5f}" if error is None or not math.isfinite(error) else f"{value:{sign}.5f} ± {error:.5f}"
