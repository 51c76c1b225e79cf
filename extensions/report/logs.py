"""Reads train.log for what the metrics do not say: at which optimizer step a corrupt sample was passed over.

A log grows for weeks: it is read in blocks, and only where corrupt samples are listed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 1 << 20  # bytes
LINE = 4096  # bytes of a line that are looked at
KEPT = 200  # events of a log that are kept; more are counted
# What a progress bar shows, and what is printed of a corrupt sample.
BAR = re.compile(rb"(?:^|\s)(\d{1,9})/\d{1,9} \[")
CORRUPT = re.compile(rb"bad_sample: skipped (.{1,300})")


@dataclass
class Log:
    """What a log says. step: that the progress bar showed last. corrupt: [(step, what was said)], the first KEPT."""

    step: int = 0
    corrupt: list[tuple[int, str]] = field(default_factory=list)
    corrupt_count: int = 0

    def take(self, piece: bytes) -> None:
        """Take in a line, or what a bar has drawn once."""
        if found := BAR.search(piece):
            self.step = int(found[1])
        if found := CORRUPT.search(piece):
            self.corrupt_count += 1
            if len(self.corrupt) < KEPT:
                self.corrupt.append((self.step, found[1].decode("utf-8", "replace")))


def read(path: Path) -> Log:
    """Return what a log says; nothing where there is none."""
    log = Log()
    try:
        with open(path, "rb") as file:
            for piece in pieces(file):
                log.take(piece)
    except OSError:
        return log
    return log


def pieces(file) -> Iterator[bytes]:
    """Yield what stands between line ends, a bar's returns among them; of a line without an end its first bytes."""
    rest = b""
    while block := file.read(BLOCK):
        *whole, rest = re.split(rb"[\r\n]", rest + block)
        yield from (piece[:LINE] for piece in whole)
        rest = rest[:LINE]
    yield rest
