"""Shows runs: `python -m extensions.report report|compare|watch` (make report, compare, watch)."""

import argparse
import os
import sys
from pathlib import Path

from extensions.base import paths
from extensions.base.reporting import exit_code_of
from extensions.report import compared, overview, planned, records
from extensions.report.overview import Told
from extensions.report.pages import Site
from extensions.report.records import Record

OUT = paths.RUNTIME / "logs" / "report"


def main(arguments: list[str]) -> int:
    """Run one of the verbs; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m extensions.report", description="What runs look like.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, help_, runs in (
        ("report", "pages of all runs, or of one anew", "?"),
        ("compare", "a page of some runs against each other", "*"),
        ("watch", "a run in the terminal", "?"),
    ):
        verb = verbs.add_parser(name, help=help_)
        verb.add_argument("run", nargs=runs, help="its number, or the path of a run folder")
        verb.add_argument("--out", default="", help=f"the folder of the pages ({paths.shown(OUT)})")
    asked = parser.parse_args(arguments)
    out = Path(os.path.expanduser(asked.out)) if asked.out else OUT
    if asked.verb == "watch":
        from extensions.report import watching

        return watching.main(asked.run or "", out)
    if asked.verb == "compare":
        return compare([name for words in asked.run for name in words.split()], out)
    return report(asked.run or "", out)


def told(record: Record, runs) -> Told:
    """Read everything of a record."""
    return Told(record, records.history(record), planned.expected(record.manifest, runs))


def report(name: str, out: Path) -> int:
    """Write the index, and the pages of all runs or of one."""
    chosen = records.find(name, paths.LOGS) if name else []
    runs, notes = overview.launchers()
    folders = {each.folder for record in chosen for each in record.launches}
    others = [r for r in records.find_all(paths.LOGS) if not folders & {each.folder for each in r.launches}]
    every = [told(record, runs) for record in [*chosen, *others]]
    every.sort(key=lambda one: one.record.key)
    by_key = {one.record.key: one for one in every}
    site = Site(out)
    written = {one.page for one in every if not chosen or one.record in chosen or not (out / one.page).is_file()}
    for one in every:
        if one.page in written:
            page = overview.write_run(site, one, by_key, runs)
    index = overview.write_index(site, every, runs, notes)
    site.tidy()
    print(f"{len(every)} recorded run(s) of {len(runs.keys() | {one.record.run for one in every})}")
    print((page if chosen else index).resolve().as_uri())
    return 0


def compare(names: list[str], out: Path) -> int:
    """Write the page of some runs."""
    runs, _ = overview.launchers()
    found = [record for name in dict.fromkeys(names) for record in newest_of(records.find(name, paths.LOGS))]
    page = compared.write(Site(out), [told(record, runs) for record in found], runs)
    print(page.resolve().as_uri())
    return 0


def newest_of(found: list[Record]) -> list[Record]:
    """Return one record of a run: at full size where there is one, else the tiny one."""
    return sorted(found, key=lambda record: bool(record.profile))[:1]


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
