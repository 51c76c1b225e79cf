"""Lists what `make latents` leaves out, with the reason, and what it passes over on its way to the images.

OUT/left_out.txt      ids of images, one a line, as EXCLUDE= reads them
OUT/left_out.jsonl    everything: path, id (none for what is no image), kind, reason
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import SpooledTemporaryFile

from extensions.base.saving import replacing
from extensions.data import ids

LIST, REASONS = "left_out.txt", "left_out.jsonl"
IN_MEMORY = 16 << 20  # bytes of what was passed over; more goes to a temporary file
SUFFIXES = 1000  # different ones that are counted
# Images that nothing here reads; who took them will miss them.
FOREIGN = (
    ".heic", ".heif", ".jxl", ".psd", ".svg", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".xcf",
    ".exr", ".ico",
)  # fmt: skip


def row(path: str, key: str | None, kind: str, reason: str) -> str:
    """Return a line of REASONS."""
    return json.dumps({"path": path, "id": key, "kind": kind, "reason": reason}) + "\n"


class PassedOver:
    """What was found below the folder of images and is none that is encoded. others: files by their suffix."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.lines = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - lives as long as its owner

    def add(self, path: str, kind: str, reason: str) -> None:
        """Put down one folder or file."""
        self.kinds[kind] += 1
        self.lines.write(row(path, None, kind, reason).encode())

    def file(self, path: str) -> None:
        """Put down a file that has no name of an image that is read."""
        suffix = os.path.splitext(path)[1].lower()
        if suffix in FOREIGN:
            self.add(path, f"{suffix} file", "nothing here reads this kind; convert it")
        elif suffix in self.others or len(self.others) < SUFFIXES:
            self.others[suffix] += 1

    def told(self, besides: Iterable[str] = ()) -> str:
        """Return what was passed over, for a line of text. besides: suffixes that are no matter."""
        others = Counter({f"{name or 'nameless'} file": n for name, n in self.others.items() if name not in besides})
        return counted(self.kinds + others)


def counted(kinds: Counter[str]) -> str:
    """Return how many of each kind, the most first."""
    ends = {True: "", False: "s"}
    plural = {kind: ends[count == 1 or not kind.endswith(("folder", "file"))] for kind, count in kinds.items()}
    order = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
    return ", ".join(f"{kinds[kind]:,} {kind}{plural[kind]}" for kind in order)


def write(out: Path, parts: Iterable[Path], passed: PassedOver) -> Counter[str]:
    """Write both lists; how many images of each kind were left out. parts: files of lines of REASONS, of images."""
    kinds: Counter[str] = Counter()
    with (
        replacing(out / LIST) as short,
        replacing(out / REASONS) as long,
        open(short, "wb") as listed,
        open(long, "wb") as reasons,
    ):
        for part in parts:
            for line in part.read_bytes().splitlines(keepends=True):
                said = json.loads(line)
                kinds[said["kind"]] += 1
                listed.write(ids.line(said["id"]).encode())
                reasons.write(line)
        passed.lines.seek(0)
        shutil.copyfileobj(passed.lines, reasons)
    return kinds
