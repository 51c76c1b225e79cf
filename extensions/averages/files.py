"""Writes and reads named tensors in safetensors' format a piece at a time, in any order.

safetensors' own writer wants all tensors at once, and its reader maps whole files: of a model's size both take more
memory than there may be. The format is its, and its reader reads what is written here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from extensions.averages.pieces import Place
from extensions.base.errors import UserError

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
METADATA = "__metadata__"
LONGEST_HEADER = 100 << 20  # bytes; safetensors reads none that is longer
COPIED = 1 << 24  # bytes at once


class Header:
    """The header of a file. entries: {name: {"dtype", "shape", "data_offsets"}}."""

    def __init__(self, entries: dict[str, dict[str, Any]], metadata: dict[str, str]):
        self.entries, self.metadata = entries, metadata

    @classmethod
    def of_layout(cls, layout: dict[str, tuple[torch.dtype, int]], metadata: dict[str, str]) -> Header:
        """Lay out flat tensors. layout: {name: (dtype, elements)}."""
        entries, end = {}, 0
        # The largest elements first: so each tensor begins at a multiple of its own.
        for name, (dtype, count) in sorted(layout.items(), key=lambda pair: (-pair[1][0].itemsize, pair[0])):
            begin, end = end, end + count * dtype.itemsize
            entries[name] = {"dtype": NAMES[dtype], "shape": [count], "data_offsets": [begin, end]}
        return cls(entries, metadata)

    @classmethod
    def read(cls, file) -> tuple[Header, int]:
        """Return (the header, where the data begin) of an open file. ValueError for one that is damaged."""
        size = int.from_bytes(file.read(8), "little")
        if size > LONGEST_HEADER:
            raise ValueError("its header is longer than any")
        found = json.loads(file.read(size))
        metadata = found.pop(METADATA, None) or {}
        return cls(found, metadata), 8 + size

    def bytes(self) -> bytes:
        """Return it as it stands in a file."""
        text = json.dumps({METADATA: self.metadata, **self.entries}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @property
    def data(self) -> int:
        """Bytes of all tensors together."""
        return max((entry["data_offsets"][1] for entry in self.entries.values()), default=0)


class Tensors:
    """An open file whose header stands, to be filled with elements. file: at least readable; start: of the data."""

    def __init__(self, file, header: Header, start: int):
        self.file, self.header, self.start = file, header, start

    def put(self, name: str, first: int, tensor: torch.Tensor) -> None:
        """Write these elements of a tensor, from `first` on, in the dtype that the file has it in."""
        entry = self.header.entries[name]
        dtype = DTYPES[entry["dtype"]]
        content = raw(tensor.detach().to("cpu", dtype))
        put_all(self.file, content, self.start + entry["data_offsets"][0] + first * dtype.itemsize)

    def get(self, name: str) -> torch.Tensor:
        """Read one tensor, flat. ValueError where the file ends before it."""
        entry = self.header.entries[name]
        first, end = entry["data_offsets"]
        return self.part(name, 0, (end - first) // DTYPES[entry["dtype"]].itemsize)

    def part(self, name: str, first: int, count: int) -> torch.Tensor:
        """Read `count` elements of a tensor from `first` on, flat. ValueError where the file ends before them."""
        entry = self.header.entries[name]
        dtype = DTYPES[entry["dtype"]]
        content = bytearray(count * dtype.itemsize)
        self.file.seek(self.start + entry["data_offsets"][0] + first * dtype.itemsize)
        if self.file.readinto(content) != len(content):
            raise ValueError(f"{name} is cut short")
        return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0)


def raw(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor on the CPU."""
    return memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy()) if tensor.numel() else memoryview(b"")


def put_all(file, content, place: int) -> None:
    """Write all of it at a place of a file: one call may take less."""
    left = memoryview(content)
    while left:
        done = os.pwrite(file.fileno(), left, place)
        left, place = left[done:], place + done


def write_flat(path: Path, layout: dict[str, tuple[torch.dtype, int]], tensors: Iterable[tuple[str, torch.Tensor]]):
    """Write and sync flat tensors, which come one at a time."""
    header = Header.of_layout(layout, {})
    with open(path, "wb", buffering=0) as file:
        head = header.bytes()
        put_all(file, head, 0)
        os.ftruncate(file.fileno(), len(head) + header.data)
        filled = Tensors(file, header, len(head))
        for name, tensor in tensors:
            filled.put(name, 0, tensor)
        os.fsync(file.fileno())


def write_changed(
    path: Path, like: Path, metadata: dict[str, str], values: Iterable[tuple[Place, torch.Tensor]]
) -> None:
    """Write a checkpoint that is another one but for these elements and metadata; tensors have its names and dtypes.

    UserError for a checkpoint that has no place for some of them.
    """
    with open(like, "rb") as source, open(path, "w+b", buffering=0) as file:
        before, start = Header.read(source)
        changed = Header(before.entries, {**before.metadata, **metadata})
        head = changed.bytes()
        put_all(file, head, 0)
        place = len(head)
        source.seek(start)
        while block := source.read(COPIED):
            put_all(file, block, place)
            place += len(block)
        filled = Tensors(file, changed, len(head))
        for where, tensor in values:
            require_place(like, changed, where)
            filled.put(where.key, where.first, tensor)
        os.fsync(file.fileno())


def require_place(path: Path, header: Header, place: Place) -> None:
    """Raise UserError where a checkpoint has no such elements."""
    entry = header.entries.get(place.key)
    if entry is None or entry["dtype"] not in DTYPES:
        raise UserError(f"{path} has no {place.key} that could be averaged; give a checkpoint of the same run")
    first, end = entry["data_offsets"]
    if place.first + place.count > (end - first) // DTYPES[entry["dtype"]].itemsize:
        raise UserError(f"{path}: {place.key} is smaller than what was averaged; give a checkpoint of the same run")
