"""Blends checkpoints: each tensor is the sum of its parents' times their factors, a piece in memory at a time.

`python -m extensions.averages.blending` reads a job from standard input and makes the file: a launcher, which waits
for weeks, has it done by a child and holds no torch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from extensions.averages import alike, files
from extensions.averages.alike import Layout
from extensions.averages.pieces import LARGEST
from extensions.base.errors import UserError
from extensions.base.progress import progress
from extensions.base.reporting import exit_code_of
from extensions.base.saving import replacing, require_room, writing
from extensions.model.checkpoint import read_header, shortened
from extensions.model.untrained import mapped

HEADER = 4 << 20  # bytes, more than names and metadata take


def added(terms: Sequence[torch.Tensor], factors: Sequence[float], dtype: torch.dtype) -> torch.Tensor:
    """Return the sum of the terms times their factors: added in float64, and rounded once."""
    total = terms[0].double() * factors[0]
    for term, factor in zip(terms[1:], factors[1:], strict=True):
        total.add_(term.double(), alpha=factor)
    return total.to(dtype)


class Open:
    """A parent that is open, read by seeking: a mapped file's pages would count as memory."""

    def __init__(self, path: Path, stack: ExitStack):
        self.path = path
        self.file = stack.enter_context(open(path, "rb", buffering=0))
        self.tensors = files.Tensors(self.file, *files.Header.read(self.file))

    def part(self, name: str, first: int, count: int) -> torch.Tensor:
        """Return elements of a tensor, flat. UserError where the file does not hold them any more."""
        try:
            return self.tensors.part(name, first, count)
        except ValueError as error:
            raise UserError(f"{self.path} has changed while it was read ({error}); give the command again") from None


def reader(paths: Sequence[Path], factors: Sequence[float], laid: Layout) -> Callable[[str], torch.Tensor]:
    """Return a function that gives a tensor of a blend by name, as its file would have it; nothing is written."""
    sources = [mapped(path) for path in paths]

    def read(name: str) -> torch.Tensor:
        shape, dtype = laid.tensors[name]
        return added([each[name] for each in sources], factors, files.DTYPES[dtype]).view(shape)

    return read


def make(
    out: Path, paths: Sequence[Path], factors: Sequence[float], laid: Layout, metadata: Mapping[str, str],
    temporary: Path | None = None,
) -> Path:  # fmt: skip
    """Write a blend; its path. UserError, and nothing under its name, for what cannot be made.

    temporary: another path for the file that is not whole yet.
    """
    header = header_of(laid, metadata)
    require_room(present(out), header.data + HEADER, "the blend")
    require_nothing(out)
    with (
        ExitStack() as stack,
        writing(out, "make room, or give another OUT="),
        replacing(out, temporary=temporary) as under_way,
    ):
        sources = [Open(path, stack) for path in paths]
        before = [os.fstat(each.file.fileno()) for each in sources]
        with progress("blend", header.data, "tensors") as told:
            write(under_way, header, sources, factors, told)
        for source, was in zip(sources, before, strict=True):
            now = os.stat(source.path)
            if (was.st_size, was.st_mtime_ns, was.st_ino) != (now.st_size, now.st_mtime_ns, now.st_ino):
                raise UserError(f"{source.path} has changed while it was read; give the command again")
        require_nothing(out)
    return out


def header_of(laid: Layout, metadata: Mapping[str, str]) -> files.Header:
    """Lay the file out; the largest elements first, so that each tensor begins at a multiple of its own."""
    entries, end = {}, 0
    sized = sorted(laid.tensors.items(), key=lambda each: -files.DTYPES[each[1][1]].itemsize)
    for name, (shape, dtype) in [*sized, *((mark, ((0,), "F32")) for mark in laid.marks)]:
        begin, end = end, end + torch.Size(shape).numel() * files.DTYPES[dtype].itemsize
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    return files.Header(entries, {"format": "pt", **laid.metadata, **metadata})


def write(path: Path, header: files.Header, sources: list[Open], factors: Sequence[float], told: Callable) -> None:
    """Write and sync the file."""
    with open(path, "w+b", buffering=0) as file:
        head = header.bytes()
        files.put_all(file, head, 0)
        os.ftruncate(file.fileno(), len(head) + header.data)
        filled = files.Tensors(file, header, len(head))
        done = 0
        for number, (name, entry) in enumerate(header.entries.items(), start=1):
            dtype = files.DTYPES[entry["dtype"]]
            for first, count in spans(torch.Size(entry["shape"]).numel()):
                piece = added([each.part(name, first, count) for each in sources], factors, dtype)
                require_finite(name, piece, sources, first, count)
                filled.put(name, first, piece)
                done += piece.nbytes
            told(done, number)
        os.fsync(file.fileno())


def spans(elements: int) -> Iterator[tuple[int, int]]:
    """Yield (first, count) of the pieces of a tensor."""
    for first in range(0, elements, LARGEST):
        yield first, min(LARGEST, elements - first)


def require_finite(name: str, piece: torch.Tensor, sources: list[Open], first: int, count: int) -> None:
    """Raise UserError for NaN and infinity, naming the parent that has them, or the dtype that makes them."""
    if bool(piece.isfinite().all()):
        return
    for source in sources:
        if not bool(source.part(name, first, count).isfinite().all()):
            raise UserError(f"{source.path}: tensor {shortened(name)} holds NaN or infinity; give another checkpoint")
    kind = str(piece.dtype).removeprefix("torch.")
    raise UserError(f"tensor {shortened(name)} of the blend is beyond {kind}'s largest; make blend takes DTYPE=bf16")


def require_nothing(out: Path) -> None:
    """Raise UserError where something has the name already."""
    if os.path.lexists(out):
        raise UserError(f"{out} is there already; move it away, or give another OUT=")


def present(path: Path) -> Path:
    """Return the nearest folder above a path that there is."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def main(arguments: list[str]) -> int:
    """Make the blend that standard input describes; the exit code. What a user can mend is printed as {"error": …}.

    {"out", "temporary", "paths", "factors", "dtype", "predicts", "metadata"}: as `make` and `alike.layout` take them.
    """
    job = json.load(sys.stdin)
    sources = [Path(path) for path in job["paths"]]
    try:
        laid = alike.layout([read_header(path) for path in sources], job["dtype"], job["predicts"])
        make(Path(job["out"]), sources, job["factors"], laid, job["metadata"], Path(job["temporary"]))
    except UserError as error:
        print(json.dumps({"error": str(error)}))
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
