"""The metadata index and upstream's own data set on the same synthetic metadata, at growing sizes.

    .venv/bin/python -m benchmarks.index [--rows 10_000 100_000 1_000_000] [--rows 12_400_000] [--files 100_000]
      [--folder /tmp]

Each size: metadata of the real shape (35 tags, 75 words) are written, and the index is built, with its peak of
anonymous memory. Up to a million images both are then opened in turn by the same small topology (one rank, two
forked workers, 2,000 random reads each), and the ratio of the two is printed; where only larger sizes are asked for,
a million is measured, too. The index is also opened with its pages dropped from the cache, and by 4 ranks x 8
workers; the same of 1,000 images is subtracted.
`make index DATA=` also reads the names of all latents once: that is measured apart, with --files empty npz files in
one folder, and told for 12.4 million by proportion (names in the page cache, as after a copy; a disk adds its own).
All files are removed at the end. A set of n images needs 2.4 kB n of disk, which is asked first.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds the package, too
from benchmarks import index_data
from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.base.reporting import exit_code_of
from extensions.data.index import Index, checked
from extensions.data.index.layout import index_of

SIZES = (10_000, 100_000, 1_000_000)
FILES = 100_000
UPSTREAM_UP_TO = 1_000_000  # beyond, its memory does not fit a small machine
FEW = 1_000  # images of the run that is subtracted
DISK = 2_400  # bytes an image: the JSON, and the index twice while it is assembled
WHOLE = 12_400_000  # images of the large set
RANKS, WORKERS, READS = 4, 8, 2_000
SIDE = (1, 2)  # ranks, workers of the comparison
MB = 1e6


@dataclass
class Measured:
    """build, cold: s. peak: bytes of anonymous memory of the build. file: bytes of the index.

    ours, upstream: what `index_probe` prints, of the small topology; upstream {} where it was not run.
    together: bytes of all ranks and workers, on top of FEW images'.
    """

    rows: int
    build: float
    peak: int
    file: int
    cold: float
    ours: dict
    upstream: dict
    together: int = 0


def probe(which: str, meta: Path, data: Path, ranks: int, workers: int) -> list[dict]:
    """What each rank printed; they run at the same time. UserError when one fails."""
    line = [sys.executable, "-m", "benchmarks.index_probe", which, str(meta), str(data), str(workers), str(READS)]
    started = [subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(ranks)]
    found = [process.communicate() for process in started]
    for process, (_, said) in zip(started, found, strict=True):
        if process.returncode:
            raise UserError(f"{which} failed on {meta}: {said.decode(errors='replace').strip().splitlines()[-1:]}")
    return [json.loads(out.splitlines()[-1]) for out, _ in found]


def built(meta: Path, data: Path | None = None) -> tuple[float, int]:
    """(seconds, peak of anonymous bytes) of `make index`. data: a folder in which it looks for every id."""
    began, peak = time.monotonic(), 0
    line = [sys.executable, "-m", "extensions.data.index", str(meta), *([f"--data={data}"] if data else [])]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.02)
    if process.returncode:
        raise UserError(f"the index of {meta} could not be built")
    return time.monotonic() - began, peak


def anonymous(process: int) -> int:
    """Anonymous bytes of a process now; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def dropped(path: Path) -> None:
    """Take a file's pages out of the cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def prepare(folder: Path, rows: int) -> tuple[Path, Path, float, int]:
    """Metadata and index of so many images: (metadata, latents' folder, seconds, peak bytes).

    The folder of latents is empty and noted as complete: millions of files are not what is measured.
    """
    meta, data = folder / f"{rows}.json", folder / "latents"
    data.mkdir(exist_ok=True)
    os.utime(data, ns=(1, 1))
    index_data.write(meta, rows)
    seconds, peak = built(meta)
    state = checked.Folder(str(data.resolve()), data.stat().st_mtime_ns, rows)
    made = Index(index_of(meta))
    checked.remember(made.path, made.keys_fingerprint, state)
    return meta, data, seconds, peak


def names_table(folder: Path, files: int) -> Table:
    """Reading the names of so many latents, and `make index` with and without it, side by side."""
    require_room(folder, files)
    meta, data = folder / "names.json", folder / "names"
    index_data.write(meta, files)
    data.mkdir()
    for number in range(files):
        (data / f"{index_data.key(number)}.npz").touch()
    sides = []
    for given in (None, data):
        sides.append(built(meta, given))
        index_of(meta).unlink()
    began = time.monotonic()
    state, _ = checked.scan(data, files)
    seconds = time.monotonic() - began
    if state.ids != files:
        raise UserError(f"{state.ids:,} names were found in {data} instead of {files:,}")
    title = "names of the latents' files, read once by make index DATA="
    columns = (
        "files",
        "names s",
        f"names s at {WHOLE:,}",
        "without, with: make index s",
        "peak MB",
        "peak, B a file",
    )
    table = Table(*columns, title=title)
    times, peaks = ([side[i] for side in sides] for i in (0, 1))
    table.add_row(
        f"{files:,}",
        f"{seconds:.2f}",
        f"{seconds * WHOLE / files:.0f}",
        ", ".join(f"{each:.1f}" for each in times),
        ", ".join(f"{each / MB:.0f}" for each in peaks),
        f"{max(0, peaks[1] - peaks[0]) / files:.0f}",
    )
    return table


def measure(folder: Path, rows: int, few: int) -> Measured:
    """One size. few: bytes of all ranks and workers at FEW images."""
    require_room(folder, rows)
    meta, data, seconds, peak = prepare(folder, rows)
    dropped(index_of(meta))
    cold = probe("ours", meta, data, 1, 0)[0]["open"]
    # Who goes first changes from size to size; the ratios are of one size.
    sides = {"ours": {}, "upstream": {}}
    wanted = ["ours", "upstream"] if rows <= UPSTREAM_UP_TO else ["ours"]
    for which in wanted if len(str(rows)) % 2 else wanted[::-1]:
        sides[which] = probe(which, meta, data, *SIDE)[0]
    together = sum(each["together"] for each in probe("ours", meta, data, RANKS, WORKERS)) - few
    file = index_of(meta).stat().st_size
    for path in folder.glob(f"*{rows}.json*"):
        path.unlink()
    return Measured(rows, seconds, peak, file, cold, **sides, together=together)


def require_room(folder: Path, rows: int) -> None:
    """UserError where the disk is too small."""
    needed, free = DISK * rows / 1e9, shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise UserError(f"{rows:,} images need {needed:.1f} GB in {folder}, {free:.1f} GB are free; give --folder=")


def comparison(found: list[Measured]) -> Table:
    """The two side by side, and how they grow."""
    title = f"one rank, {SIDE[1]} workers, {READS:,} reads each: upstream / ours (their ratio)"
    table = Table("images", "open, CPU s", "opened MB", "with workers MB", "row µs", title=title)
    for each in found:
        if each.upstream:
            cells = [pair(each, "cpu", 1, 3), pair(each, "opened", MB, 1), pair(each, "together", MB, 0)]
            table.add_row(f"{each.rows:,}", *cells, pair(each, "row", 1, 1))
    return table


def pair(each: Measured, name: str, unit: float, digits: int) -> str:
    """What upstream and the index took, and their ratio."""
    its, mine = each.upstream[name] / unit, each.ours[name] / unit
    ratio = its / max(mine, 10**-digits)
    return f"{its:,.{digits}f} / {mine:.{digits}f} ({ratio:,.{0 if ratio > 10 else 2}f})"


def growth(found: list[Measured]) -> Table:
    """The index alone."""
    title = f"the index; all: {RANKS} ranks x {WORKERS} workers, on top of {FEW:,} images"
    columns = ("images", "file GB", "build s", "images/s", "peak MB", "open s cold", "warm", "row µs", "all MB")
    table = Table(*columns, title=title)
    for each in found:
        speed = [f"{each.build:.0f}", f"{each.rows / each.build:,.0f}", f"{each.peak / MB:.0f}"]
        opening = [f"{each.cold:.3f}", f"{each.ours['open']:.3f}", f"{each.ours['row']:.1f}"]
        table.add_row(f"{each.rows:,}", f"{each.file / 1e9:.2f}", *speed, *opening, f"{each.together / MB:.0f}")
    return table


def beside_upstream(sizes: list[int]) -> list[int]:
    """The sizes, and the largest that upstream is measured at, where it would be measured at none of them."""
    return list(sizes) if min(sizes) <= UPSTREAM_UP_TO else [UPSTREAM_UP_TO, *sizes]


def main(arguments: list[str]) -> int:
    """Measure and print. The figures are no test: the exit code does not depend on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="sizes, in images")
    parser.add_argument("--files", type=int, default=FILES, help="empty npz files whose names are read; 0: none")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="a disk with room")
    asked = parser.parse_args(arguments)
    if min(asked.rows) < 1 or not asked.folder.is_dir():
        raise UserError("give --rows=1 or more, and --folder= a folder that exists")
    require_room(asked.folder, max(asked.rows))
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        meta, data, *_ = prepare(Path(folder), FEW)
        few = sum(each["together"] for each in probe("ours", meta, data, RANKS, WORKERS))
        found = []
        for rows in beside_upstream(asked.rows):
            found.append(measure(Path(folder), rows, few))
            print(f"{rows:,} images measured", file=sys.stderr, flush=True)
        names = names_table(Path(folder), asked.files) if asked.files else None
    console = Console(width=118)
    console.print(growth(found))
    if any(each.upstream for each in found):
        console.print(comparison(found))
    if names:
        console.print(names)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
