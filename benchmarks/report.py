"""A logbook of long runs as pages: how long the first report takes, a second one, and a page to open.

    .venv/bin/python -m benchmarks.report [--runs 39] [--steps 777_917] [--folder /tmp]

Each run is one metrics.jsonl of the recorded kind, with a validation every thousand steps; all runs are links to one
file, which is read once for each. Then a hundred lines are added and the pages are written again. Where there is a
Chromium, every page is opened from the disk, and the slowest told: the seconds from the call to the load event, the
pictures in sight among what is loaded.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds the package, too
from extensions.base import paths
from extensions.base.reporting import exit_code_of
from extensions.report import __main__ as report
from extensions.report import records
from tests.helpers import browser, run_folders

MB = 1e6


def write_runs(logs: Path, runs: int, steps: int) -> Path:
    """Write the runs' folders; the file that all of them share."""
    first = run_folders.folder_of(logs, "run 0", "20260101T000000Z", [])
    with open(first / "metrics.jsonl", "w", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            if step % 1000 == 1:
                line = run_folders.validation_line(step - 1, 0.2 + 10 / (step + 99), 0.3)
                file.write(json.dumps(line) + "\n")
            loss = 0.1 + 5 / (step + 99) + (step * 7919 % 1000) / 50_000
            file.write(json.dumps(run_folders.training_line(step, loss, grad_norm=1 + loss)) + "\n")
    for number in range(1, runs):
        other = run_folders.folder_of(logs, f"run {number}", "20260101T000000Z", [])
        (other / "metrics.jsonl").unlink()
        os.link(first / "metrics.jsonl", other / "metrics.jsonl")
    return first / "metrics.jsonl"


def seconds_of(out: Path) -> float:
    """Write the pages; seconds."""
    began = time.monotonic()
    report.main(["report", "--out", str(out)])
    return time.monotonic() - began


def slowest(out: Path) -> tuple[float, str]:
    """Return the seconds of the page that takes longest to open, and its name."""
    with browser.browser() as driver:
        found = []
        driver.get("about:blank")
        for page in sorted(out.glob("*.html")):
            began = time.monotonic()
            driver.get(page.as_uri())
            found.append((time.monotonic() - began, page.name))
    return max(found)


def main(arguments: list[str]) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=39)
    parser.add_argument("--steps", type=int, default=777_917)
    parser.add_argument("--folder", type=Path, default=None, help="where the files lie for a while")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        logs, out = Path(folder) / "logs", Path(folder) / "pages"
        file = write_runs(logs, asked.runs, asked.steps)
        paths.LOGS, records.KEPT = logs, Path(folder) / "kept"
        print(f"{asked.runs} runs of {asked.steps:,} optimizer steps, {file.stat().st_size / MB:.0f} MB each")
        first = seconds_of(out)
        with open(file, "a", encoding="utf-8") as more:
            for step in range(asked.steps + 1, asked.steps + 101):
                more.write(json.dumps(run_folders.training_line(step, 0.1, grad_norm=1)) + "\n")
        again = seconds_of(out)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
        print(f"a second report with 100 more steps takes {again / first:.2f} of the first's {first:.1f} s")
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        print(f"peak memory {peak:.0f} MB; pages and charts {size / MB:.1f} MB")
        if browser.missing():
            print(f"no page was opened: {browser.missing()}")
        else:
            took, name = slowest(out)
            print(f"slowest page to open: {name} in {took:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
