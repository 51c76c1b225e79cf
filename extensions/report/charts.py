"""Draws charts as SVG files: by matplotlib, in colours that everybody tells apart, in the reader's dark or light.

A file is called by what it shows, so that one that is there is not drawn again. Lines differ in their dashes, too.
"""

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from extensions.base.errors import printable
from extensions.base.saving import write_text
from extensions.report.curves import Curve
from extensions.report.marks import CORRUPT, MISSING, RESUME, ROLLBACK

DRAWING = 2  # of this file: one more where the same would be drawn otherwise
# Okabe and Ito's colours, without black and yellow, which dark or light would swallow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES: tuple = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
INK, GRID, PAPER = "#010203", "#020304", "#030405"  # stand in the drawing for what the reader's theme decides
THEME = """
:root{--ink:#333;--grid:#ddd;--paper:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#ccc;--grid:#3a3f44;--paper:#16191c}}
*{stroke-linejoin:round;stroke-linecap:butt}
"""
# For readers of Markdown, who choose their theme by themselves: a picture on paper of its own fits each of them.
ON_PAPER = """
:root{--ink:#333;--grid:#ddd;--paper:#fff}
svg{background:#fff}
*{stroke-linejoin:round;stroke-linecap:butt}
"""
DOT = 100  # pixels an inch
SMALL, WIDE = (400, 240), (860, 280)  # pixels; what is wide has a small one for telephones, too
MARKED = {
    RESUME: (INK, (0, (4, 3))),
    ROLLBACK: ("#D55E00", "-"),
    CORRUPT: ("#CC79A7", (0, (1, 2))),
    MISSING: ("#E69F00", "-."),
}
FEW = 60  # values that stand as points, and all in the table
ROWS = 12  # of the table of a curve with more
DRAWN_MARKS = 40  # more would hide the curve; all stand in the table


@dataclass(frozen=True)
class Series:
    """One line of a chart. error: a curve of its standard error. ordered: (place, of how many) in an order."""

    name: str
    curve: Curve
    error: Curve | None = None
    ordered: tuple[int, int] | None = None


@dataclass(frozen=True)
class Chart:
    """What a chart shows. unit: of its values, divided by `scale`. smooth: the mean over the raw band.

    level: (value, what it is), a line across. marks: (optimizer step, kind).
    """

    title: str
    series: tuple[Series, ...]
    unit: str = ""
    scale: float = 1.0
    smooth: bool = False
    level: tuple[float, str] | None = None
    marks: tuple[tuple[int, str], ...] = ()
    size: tuple[int, int] = field(default=SMALL)

    @property
    def name(self) -> str:
        """A name for its file that says all that is drawn."""
        digest = hashlib.sha256(repr((DRAWING, self.title, self.unit, self.scale, self.smooth)).encode())
        digest.update(repr((self.level, self.marks, self.size)).encode("utf-8", "backslashreplace"))
        for one in self.series:
            digest.update(repr((one.name, one.ordered)).encode("utf-8", "backslashreplace"))
            for curve in (one.curve, one.error):
                if curve is not None:
                    digest.update(repr((curve.width, curve.last)).encode())
                    for array in (curve.bins, curve.count, curve.low, curve.high, curve.total):
                        digest.update(array.tobytes())
        return f"{digest.hexdigest()[:24]}.svg"


def write(chart: Chart, folder: Path) -> str:
    """Draw a chart into a folder, unless it is there; the file's name."""
    path = folder / chart.name
    if not path.is_file():
        write_text(path, drawn(chart))
    return path.name


def drawn(chart: Chart, theme: str = THEME) -> str:
    """Return the SVG of a chart. theme: THEME, or ON_PAPER."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: dict = {
        "svg.fonttype": "none", "svg.hashsalt": "report", "text.parse_math": False, "font.size": 8.5,
        "font.family": "sans-serif", "text.color": INK, "axes.edgecolor": GRID, "axes.labelcolor": INK,
        "xtick.color": INK, "ytick.color": INK, "axes.titlesize": 9, "axes.titlelocation": "left",
        "axes.formatter.useoffset": False, "axes.unicode_minus": False, "path.simplify": False,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(chart.size[0] / DOT, chart.size[1] / DOT), dpi=DOT, layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        fill(axes, chart)
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return themed(file.getvalue(), theme)


def fill(axes, chart: Chart) -> None:
    """Put curves, marks, names and axes on it."""
    from matplotlib.ticker import EngFormatter

    for place, one in enumerate(chart.series):
        draw_curve(axes, one, place, chart)
    if chart.level is not None:
        axes.axhline(
            chart.level[0] / chart.scale, color=INK, linewidth=1, linestyle=(0, (2, 2)), label=shown(chart.level[1])
        )
    for step, kind in chart.marks[:DRAWN_MARKS]:
        colour, dashes = MARKED[kind]
        axes.axvline(step, color=colour, linestyle=dashes, linewidth=1)
    axes.set_title(shown(chart.title) + (f" ({shown(chart.unit)})" if chart.unit else ""))
    axes.set_xlabel("optimizer steps", fontsize=8)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(chart.series) > 1 or chart.level is not None:
        legend = axes.legend(fontsize=7.5, framealpha=0.85, facecolor=PAPER, edgecolor=GRID, loc="best")
        for text in legend.get_texts():
            text.set_parse_math(False)


def draw_curve(axes, one: Series, place: int, chart: Chart) -> None:
    """Draw lowest to highest of each column of pixels, and the mean on top."""
    curve = one.curve.thinned(chart.size[0])
    steps, scale, colour = curve.steps(), chart.scale, colour_of(one, place)
    style = {
        "color": colour,
        "linestyle": "-" if one.ordered else DASHES[place % len(DASHES)],
        "label": shown(one.name),
    }
    few = len(steps) <= FEW
    if chart.smooth and not few:
        axes.fill_between(steps, curve.low / scale, curve.high / scale, color=colour, alpha=0.3, linewidth=0.4)
        if curve.width == 1:  # each value has a column of its own
            faint = 0.5 if len(chart.series) == 1 else 0.25
            axes.plot(steps, curve.low / scale, linewidth=0.6, alpha=faint, color=colour)
        axes.plot(steps, curve.smoothed() / scale, linewidth=1.6, **style)
        return
    if (curve.high > curve.low).any():
        axes.fill_between(steps, curve.low / scale, curve.high / scale, color=colour, alpha=0.3, linewidth=0.4)
    if one.error is not None and len(one.error.bins):
        error = np.interp(steps, one.error.steps(), one.error.means())
        axes.errorbar(
            steps, curve.means() / scale, yerr=np.abs(error) / scale, fmt="none", ecolor=colour, elinewidth=0.8
        )
    axes.plot(steps, curve.means() / scale, linewidth=1.4, marker="o" if few else "", markersize=2.5, **style)


def colour_of(one: Series, place: int) -> str:
    """Return a colour: of viridis where the lines have an order, without its ends, else the next one."""
    if one.ordered is None:
        return COLOURS[place % len(COLOURS)]
    import matplotlib
    from matplotlib.colors import to_hex

    number, count = one.ordered
    return to_hex(matplotlib.colormaps["viridis"](0.2 + 0.65 * number / max(1, count - 1)))


def shown(text: str) -> str:
    """Return a text as XML can hold it, on one line, at a legend's length; matplotlib passes over a leading _."""
    plain = printable(text)
    plain = plain if len(plain) <= 48 else f"{plain[:47]}…"
    return f" {plain}" if plain.startswith("_") else plain


def themed(svg: str, theme: str = THEME) -> str:
    """Let the theme choose ink, grid and paper; no browser needs the document's type."""
    svg = re.sub(r"<!DOCTYPE.*?>\s*", "", svg, count=1, flags=re.S)
    svg = re.sub(
        r'<style type="text/css">.*?</style>',
        lambda _: f'<style type="text/css">{theme}</style>',
        svg,
        count=1,
        flags=re.S,
    )
    for stand_in, name in ((INK, "ink"), (GRID, "grid"), (PAPER, "paper")):
        svg = svg.replace(stand_in, f"var(--{name})")
    return svg


def table(curves: Sequence[Series], scale: float = 1.0) -> list[list[str]]:
    """Return a chart as rows of texts: optimizer steps, then each curve's mean there ("" where it has none)."""
    few = all(len(one.curve.bins) <= FEW for one in curves)
    thin = [one.curve.thinned(one.curve.width * 10**9 if few else ROWS) for one in curves]
    found: dict[tuple[int, int], list[str]] = {}
    for place, curve in enumerate(thin):
        for number, mean in zip(curve.bins, curve.means() / scale, strict=True):
            begin, end = int(number) * curve.width, (int(number) + 1) * curve.width - 1
            found.setdefault((begin, end), [""] * len(thin))[place] = f"{mean:.5g}"
    return [[f"{a:,}" if a == b else f"{a:,} to {b:,}", *values] for (a, b), values in sorted(found.items())]
