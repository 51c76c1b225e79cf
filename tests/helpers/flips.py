"""Flips bits of files, and watches in child processes what becomes of a reader.

A child takes flips one after the other and says before each which it takes, so that a signal that kills it is known
by its flip; the next child goes on behind it.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from extensions.base.paths import ROOT

CHILD = """
import contextlib, importlib, json, sys
from extensions.base.errors import UserError
from tests.helpers.flips import flipped
module, name, folder, file, whole, bits = json.loads(sys.argv[1])
read = getattr(importlib.import_module(module), name)
for bit in bits:
    print(json.dumps(["at", bit]), flush=True)
    with flipped(file, bit):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                outcome = "same" if json.loads(json.dumps(read(folder))) == whole else "silent"
        except UserError as error:
            outcome = "refused" if len(str(error).splitlines()) == 1 else "several lines"
        except Exception as error:
            outcome = f"traceback: {error!r:.200}"
    print(json.dumps([outcome, bit]), flush=True)
"""


class flipped:
    """A file with one bit changed while the block runs."""

    def __init__(self, path: str, bit: int):
        self.path, self.bit = Path(path), bit

    def __enter__(self):
        self.whole = self.path.read_bytes()
        content = bytearray(self.whole)
        content[self.bit // 8] ^= 1 << self.bit % 8
        self.put(bytes(content))

    def __exit__(self, *_):
        self.put(self.whole)

    def put(self, content: bytes) -> None:
        """Replace the file: one that is mapped stays what it was. Its time stays, as under a bad disk or memory."""
        facts = self.path.stat()
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_bytes(content)
        os.utime(new, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        new.replace(self.path)


def outcomes(reader: tuple[str, str], folder: Path, file: Path, count: int, seed: int) -> dict[str, list[int]]:
    """{outcome: the bits that had it} of `count` flips of a file. reader: (module, its function of the folder)."""
    module, name = reader
    whole = json.loads(one_reading(module, name, folder))
    draw = random.Random(seed)
    size = 8 * file.stat().st_size
    bits = sorted(draw.sample(range(size), min(count, size)))
    found: dict[str, list[int]] = {}
    content = file.read_bytes()
    for outcome, bit in watched(module, name, folder, file, whole, bits):
        found.setdefault(outcome, []).append(bit)
    assert file.read_bytes() == content
    return found


def one_reading(module: str, name: str, folder: Path) -> str:
    """What the reader gives of the whole files, as JSON."""
    program = (
        "import contextlib, importlib, json, sys\n"
        "with contextlib.redirect_stdout(sys.stderr):\n"
        "    found = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])(sys.argv[3])\n"
        "print(json.dumps(found))"
    )
    line = [sys.executable, "-c", program, module, name, str(folder)]
    return subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def watched(module, name, folder, file, whole, bits: list[int]) -> Iterator[tuple[str, int]]:
    """Yield (outcome, bit) of each; a child that a signal ends is followed by another."""
    content = file.read_bytes()
    while bits:
        task = json.dumps([module, name, str(folder), str(file), whole, bits])
        done = subprocess.run(
            [sys.executable, "-c", CHILD, task], cwd=ROOT, capture_output=True, text=True, check=False
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        yield from ((outcome, bit) for outcome, bit in lines if outcome != "at")
        if done.returncode == 0:
            return
        last = lines[-1][1] if lines else bits[0]
        file.write_bytes(content)
        yield f"ended with {done.returncode}: {done.stderr[-300:]}", last
        bits = [bit for bit in bits if bit > last]
