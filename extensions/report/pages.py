"""Writes the pages: by templates that escape every text, each with its style and script inside, and a strict policy.

A page asks for nothing but the pictures in its own folder. Names, captions and flags come from whoever made the data
and the runs: none of them becomes a tag, a script, or the name of a file.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

from extensions.base.errors import UserError, printable
from extensions.base.saving import write_text, writing
from extensions.report import charts as drawing
from extensions.report.charts import Chart

TEMPLATES = Path(__file__).with_name("templates")
CHARTS, PICTURES = "charts", "pictures"
SIGN = ".sdxl-trainer-report"  # stands in a folder of pages: what of it is not used any more may go


@dataclass(frozen=True)
class Cell:
    """A cell of a table. sort: what it is sorted by, its text where None. link: a page."""

    text: str
    sort: float | str | None = None
    link: str = ""


class Site:
    """One folder of pages. UserError where it cannot be written, or holds something else."""

    def __init__(self, folder: Path):
        self.folder = folder
        with writing(folder, "give another folder by OUT="):
            folder.mkdir(parents=True, exist_ok=True)
            strangers = [path.name for path in folder.iterdir()]
            if strangers and SIGN not in strangers:
                raise UserError(f"OUT={folder} holds other files ({strangers[0]}, …); give an empty or a new folder")
            (folder / SIGN).touch()
            (folder / CHARTS).mkdir(exist_ok=True)

    def write(self, name: str, template: str, title: str, **known) -> Path:
        """Write a page of this name; its path."""
        style, script = asset("style.css"), asset("sort.js")
        policy = (
            f"default-src 'none'; img-src 'self' file:; style-src {digest(style)}; script-src {digest(script)}; "
            "base-uri 'none'; form-action 'none'"
        )
        now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        from markupsafe import Markup

        # Our own two files; everything else is escaped.
        own = {"style": Markup(style), "script": Markup(script), "policy": policy, "written": now}
        text = environment().get_template(f"{template}.html.jinja").render(title=printable(title), **own, **known)
        path = self.folder / name
        with writing(path, "make room, or give another folder by OUT="):
            write_text(path, text)
        return path

    def draw(self, charts: Sequence[Chart]) -> list[dict]:
        """Draw charts; what the templates show of each."""
        found = []
        for number, chart in enumerate(charts):
            wide = chart.size == drawing.WIDE
            with writing(self.folder / CHARTS, "make room, or give another folder by OUT="):
                file = drawing.write(chart, self.folder / CHARTS)
                small = drawing.write(replace(chart, size=drawing.SMALL), self.folder / CHARTS) if wide else file
            width, height = chart.size
            names = [printable(one.name) for one in chart.series]
            found.append({
                "file": f"{CHARTS}/{file}", "small": f"{CHARTS}/{small}", "wide": wide, "width": width,
                "height": height, "title": printable(chart.title), "id": f"chart{number}", "names": names,
                "rows": drawing.table(chart.series, chart.scale),
            })  # fmt: skip
        return found

    def tidy(self) -> None:
        """Remove charts that no page shows any more."""
        shown: set[str] = set()
        for page in self.folder.glob("*.html"):
            shown |= set(re.findall(rf"{CHARTS}/([0-9a-f]+\.svg)", page.read_text(encoding="utf-8")))
        for path in (self.folder / CHARTS).glob("*.svg"):
            if path.name not in shown:
                path.unlink(missing_ok=True)


@cache
def environment():
    """Return jinja's, which escapes every text and shows nothing for no name."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, finalize=showable, trim_blocks=True)


def showable(value):
    """Return a value as it may be shown: control signs, and those that turn the direction of writing, escaped."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "\n".join(printable(line) for line in value.split("\n"))


@cache
def asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """Return what lets a policy know a style or script of ours."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page_of(kind: str, *names: str) -> str:
    """Return the file's name of a page: what is safe of the names, and a digest where that is not all."""
    name = "-".join(names)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:80]
    if plain != name:
        plain += f"-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    return f"{kind}-{plain}.html"
