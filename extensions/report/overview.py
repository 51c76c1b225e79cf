"""Makes the pages of a logbook: the index of all runs, and a page of each that is recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from extensions.base.errors import Stopped, UserError
from extensions.base.paths import shown
from extensions.logbook import commands, registry
from extensions.logbook.registry import Run
from extensions.plan.vram import GB
from extensions.report import differing, grids, grouped, lineage, marks, pages, planned
from extensions.report.charts import WIDE, Chart, Series
from extensions.report.metrics import MOST, TRAINING
from extensions.report.pages import Cell, Site
from extensions.report.planned import Expected
from extensions.report.records import History, Record

INDEX = "index.html"
COLUMNS = [
    "run", "how it ended", "optimizer steps", "of", "loss", "validation x0", "images/s", "peak GB", "launches",
    "started (UTC)", "session", "base", "data", "GPUs", "optimizer", "learning rates", "parent",
]  # fmt: skip
HELD_OUT = "validation/held_out/x0"


@dataclass(frozen=True)
class Told:
    """A recorded run with what is known of it."""

    record: Record
    history: History
    expected: Expected

    @property
    def page(self) -> str:
        return pages.page_of("run", self.record.key)


def launchers() -> tuple[dict[str, Run], list[str]]:
    """Return (the runs that have launchers, what to say where these cannot be read)."""
    try:
        return registry.read_all(), []
    except (UserError, OSError) as error:
        return {}, [f"The launchers cannot be read: {error}"]


def parent_of(record: Record, runs: Mapping[str, Run]) -> str:
    """Return the run that it goes on from: as recorded first, else as its launcher says."""
    recorded = next((each.record.parent for each in record.launches if each.record.parent), None)
    return str(recorded or (runs[record.run].parent if record.run in runs else "") or "")


def how_it_ended(record: Record) -> str:
    """Return the end of the newest launch in words."""
    code = record.launches[-1].record.exit_code
    if code is None:
        return "no end recorded"
    known = {0: "done", Stopped.code: "stopped, state saved"}
    return known.get(code, f"exit code {code}")


def write_index(site: Site, told: list[Told], runs: Mapping[str, Run], notes: list[str]) -> Path:
    """Write the index of all runs, recorded or not."""
    recorded = {one.record.run for one in told}
    rows = [row(one, runs) for one in sorted(told, key=lambda one: one.record.key)]
    rows += [
        [Cell(run.run), "not run", *["-"] * 8, *facts(run), run.parent or "-"]
        for run in runs.values()
        if run.run not in recorded
    ]
    parents = {name: run.parent or None for name, run in runs.items()}
    for one in told:
        parents[one.record.run] = parent_of(one.record, runs) or parents.get(one.record.run)
    links = {one.record.run: one.page for one in reversed(told)}
    nodes = lineage.graph(parents)
    series = tuple(
        Series(one.record.key, one.history.curves[HELD_OUT]) for one in told if HELD_OUT in one.history.curves
    )
    found = [
        Chart("validation: x0 error of held-out images", series[at : at + 6], size=WIDE)
        for at in range(0, len(series), 6)
    ]
    return site.write(
        INDEX,
        "index",
        "Logbook",
        notes=[*notes, *damages(told)],
        columns=COLUMNS,
        rows=rows,
        charts=site.draw(found),
        nodes=[
            {
                "row": n.row,
                "lane": n.lane,
                "parent": n.parent,
                "cell": Cell(n.run, None, links.get(n.run, "")),
                "from": parents.get(n.run),
            }
            for n in nodes
        ],
        graph_width=20 * (max((node.lane for node in nodes), default=0) + 1),
    )


def damages(told: list[Told]) -> list[str]:
    """Return what is damaged of the records."""
    found = []
    for one in told:
        for launch, metrics in one.history.launched:
            if launch.damage:
                found.append(launch.damage)
            if metrics.failed:
                found.append(f"{shown(launch.metrics)} cannot be read to its end: {metrics.failed}")
            if metrics.unread:
                found.append(f"{shown(launch.metrics)}: {metrics.unread:,} line(s) cannot be read and are left out")
    return found


def row(one: Told, runs: Mapping[str, Run]) -> list[Cell | str]:
    """Return a run's row of the index."""
    record, history = one.record, one.history
    loss = history.curves.get("loss")
    smooth = loss.smoothed()[-1] if loss is not None and len(loss.bins) else None
    peak = history.last("peak_memory_bytes")
    cells: list[Cell | str] = [Cell(record.key, None, one.page), how_it_ended(record)]
    cells += [figure(history.step or None, ",.0f"), figure(one.expected.end, ",.0f"), figure(smooth, ".4f")]
    cells += [figure(history.last(HELD_OUT), ".4f"), figure(history.last("images_per_second"), ".3g")]
    cells += [figure(None if peak is None else peak / GB, ".2f"), figure(len(record.launches), "d")]
    cells += [when(record.launches[0].record.started)]
    cells += facts(runs[record.run]) if record.run in runs else ["-"] * 6
    return [*cells, parent_of(record, runs) or "-"]


def when(moment: str | None) -> str:
    """Return a moment of the record to the minute, without its zone, which is UTC."""
    return str(moment or "-")[:16].replace("T", " ")


def facts(run: Run) -> list[Cell | str]:
    """Return what the launcher says, in the order of the columns."""
    return [run.session, run.base, run.data, figure(run.gpus, "d"), run.optimizer, commands.learning_rates(run)]


def figure(value: float | None, form: str) -> Cell | str:
    """Return a number's cell, sorted by the number."""
    return "-" if value is None else Cell(format(value, form), float(value))


def write_run(site: Site, one: Told, every: Mapping[str, Told], runs: Mapping[str, Run]) -> Path:
    """Write the page of one run. every: the recorded runs by key."""
    record, history = one.record, one.history
    found = marks.of(history)
    parent = parent_of(record, runs)
    other = every.get(parent if not record.profile else f"{parent} ({record.profile})")
    speeds = one.expected.speeds
    levels = {"images_per_second": (speeds[0].img_s, "planned, slowest recorded")} if speeds else {}
    if one.expected.memory and record.manifest.hardware.get("gpus"):
        levels["peak_memory_bytes"] = (one.expected.memory * GB, "planned")
    pictures = grids.copied(record, site.folder / pages.PICTURES, Path(one.page).stem)
    return site.write(
        one.page,
        "run",
        record.key,
        words=runs[record.run].words if record.run in runs else "",
        notes=damages([one]),
        facts=[
            *zip(COLUMNS[1:], row(one, runs)[1:], strict=True),
            ("extensions", ", ".join(map(str, record.manifest.extensions)) or "-"),
        ],
        why_not=one.expected.why_not,
        planned=planned.rows(one.expected, history, record.manifest),
        charts=site.draw(grouped.charts(history, found, levels)),
        marks=[["-" if each.step is None else f"{each.step:,}", each.kind, each.said] for each in found],
        grids=[
            {**vars(each), "shown": f"{each.step:,}", "file": f"{pages.PICTURES}/{each.name}"} for each in pictures
        ],
        parent=parent,
        differing=[
            [d.name, d.left, d.right]
            for d in differing.between(other.record if other else None, record, (parent, record.run), runs)
        ]
        if parent
        else [],
        launches=launched(record),
        flags=[[name, value] for name, value in planned.flags_of(record.manifest).items()],
    )


def launched(record: Record) -> list[list[str]]:
    """Return the rows of a run's launches."""
    rows = []
    for each in record.launches:
        first = min(each.first.values(), default=None)
        until = each.cuts.get(TRAINING, MOST + 1)
        counts = "-" if first is None else "its end" if until > MOST else f"step {until - 1:,}"
        code = "-" if each.record.exit_code is None else str(each.record.exit_code)
        rows.append(
            [
                shown(each.folder),
                when(each.record.started),
                when(each.record.ended),
                code,
                "-" if first is None else f"{first:,}",
                counts,
            ]
        )
    return rows
