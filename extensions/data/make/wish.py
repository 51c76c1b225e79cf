"""Says what `make latents` is asked for, and names the files of its work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from extensions.data.make.images import NAME
from extensions.data.make.pixels import Reading
from extensions.data.make.sidecars import Sidecars

STOP, SKIP = "stop", "skip"
GOES_ON = "make room, then the same command again goes on"
METADATA, WORK = "meta_lat.json", "prepared"
PIECE, TEXTS, LEFT, NO_TEXT, LEDGER = "json", "texts", "left_out", "no_text", "jsonl"  # files of a part


@dataclass(frozen=True)
class Wish:
    """What is asked for. texts: a metadata file in place of sidecars; bad: what becomes of an image or a text that
    cannot be read, STOP or SKIP; jobs: processes; reading: how images are read; ids: NAME or PATH."""

    images: Path
    out: Path
    model: Path
    texts: Path | None = None
    sidecars: Sidecars = Sidecars()
    bad: str = STOP
    jobs: int = 1
    reading: Reading = Reading()
    ids: str = NAME

    def file(self, part: int, kind: str) -> Path:
        """Return a file of a part's work: its ledger, its texts, its piece of the metadata, what it left out."""
        return self.out / WORK / f"{part:04}.{kind}"


@dataclass(frozen=True)
class Part:
    """One part of the images. ids, paths: of each, the latter below the folder of images."""

    wish: Wish
    number: int
    ids: list[str]
    paths: list[str]

    def file(self, kind: str) -> Path:
        """Return a file of this part's work."""
        return self.wish.file(self.number, kind)
