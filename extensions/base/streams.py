"""Keeps a process alive whose output nobody takes any more: a closed terminal, a `| head`, a full disk below a `>`.

A launch waits for weeks; what it says is for a reader who may be gone. What cannot be written is lost, no more.
"""

import io
import os
import sys


class Lasting(io.RawIOBase):
    """Writes to a descriptor as long as that works."""

    def __init__(self, descriptor: int):
        self.descriptor, self.gone = descriptor, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def write(self, block) -> int:
        """Write all of it, or nothing from now on."""
        left = memoryview(block)
        while left and not self.gone:
            try:
                left = left[os.write(self.descriptor, left) :]
            except OSError:
                self.gone = True
        return len(block)


def keep() -> None:
    """Let standard output and error be such streams; what their encoding lacks is escaped."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        before = getattr(sys, name)
        if before is not None:
            before.flush()
        encoding = getattr(before, "encoding", None) or "utf-8"
        raw = io.BufferedWriter(Lasting(descriptor))
        setattr(sys, name, io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=True))
