"""Reads a checkpoint's tensors one at a time in the dtype of an export, and writes them one at a time.

Never is more than a tensor in memory beside the mapped file, whose pages the system takes back when it needs them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from extensions.averages import files
from extensions.base.errors import UserError
from extensions.handing_on.layout import Entry
from extensions.model.checkpoint import Header, broken, shortened

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
NAMES = files.NAMES | {torch.int64: "I64"}


class Source(AbstractContextManager):
    """A checkpoint that is open. UserError, where a tensor is read, for NaN, infinity, and what fp16 cannot hold.

    vanished: names of tensors of which the dtype leaves nothing but zeros.
    """

    def __init__(self, header: Header, called: str):
        self.header, self.called, self.dtype = header, called, DTYPES[called]
        self.vanished: list[str] = []
        self.file: Any = safe_open(header.path, framework="pt")

    def __exit__(self, *_) -> None:
        self.file = None

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor as the checkpoint has it, 8 bits in float32: nothing can be asked of them."""
        try:
            found = self.file.get_tensor(name)
        except SafetensorError as error:
            raise UserError(broken(self.header.path, str(error))) from None
        return found if found.itemsize > 1 else found.float()

    def rounded(self, name: str) -> torch.Tensor:
        """Return one tensor in float32, of the values that the export has. It is not checked again."""
        return self.read(name).to(self.dtype).float()

    def stored(self, name: str) -> torch.Tensor:
        """Return one tensor as the export has it."""
        wide = self.read(name)
        made = wide.to(self.dtype)
        if not bool(made.isfinite().all()):
            raise UserError(self.beyond(name, wide))
        if not made.any() and bool(wide.any()):
            self.vanished.append(name)
        return made

    def beyond(self, name: str, tensor: torch.Tensor) -> str:
        """In one line, why a tensor cannot be exported."""
        if not bool(tensor.isfinite().all()):
            return f"{self.header.path}: tensor {shortened(name)} holds NaN or infinity; give an earlier checkpoint"
        most, largest = tensor.abs().max().item(), torch.finfo(self.dtype).max
        other = "bf16 or DTYPE=fp32" if self.called == "fp16" else "fp32"
        return (
            f"{self.header.path}: tensor {shortened(name)} reaches {most:,.6g}, beyond {self.called}'s "
            f"{largest:,.6g}; give DTYPE={other}"
        )

    def value(self, entry: Entry) -> torch.Tensor:
        """Return the tensor of an entry, as the file has it."""
        if entry.constant is not None:
            return entry.constant
        found = self.stored(entry.source)
        if entry.third is not None:
            found = found.chunk(3)[entry.third]
        return (found.T if entry.transposed else found).reshape(entry.shape).contiguous()


def dtype_of(entry: Entry, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of an entry in a file of this one."""
    return dtype if entry.constant is None else entry.constant.dtype


def bytes_of(entries: Iterable[Entry], dtype: torch.dtype) -> int:
    """Return what the tensors take."""
    return sum(torch.Size(entry.shape).numel() * dtype_of(entry, dtype).itemsize for entry in entries)


def header_of(entries: list[Entry], dtype: torch.dtype, metadata: dict[str, str]) -> files.Header:
    """Lay a file out; the largest elements first, so that each tensor begins at a multiple of its own."""
    found, end = {}, 0
    for entry in sorted(entries, key=lambda each: -dtype_of(each, dtype).itemsize):
        own = dtype_of(entry, dtype)
        begin, end = end, end + bytes_of([entry], dtype)
        found[entry.name] = {"dtype": NAMES[own], "shape": list(entry.shape), "data_offsets": [begin, end]}
    return files.Header(found, metadata)


def write(
    path: Path, entries: list[Entry], source: Source, metadata: dict[str, str], told: Callable[[int], None]
) -> None:
    """Write and sync a file. told: is called with the bytes of each tensor that is written."""
    header = header_of(entries, source.dtype, metadata)
    by_name = {entry.name: entry for entry in entries}
    with open(path, "wb", buffering=0) as file:
        head = header.bytes()
        files.put_all(file, head, 0)
        for name, place in header.entries.items():
            content = files.raw(source.value(by_name[name]))
            files.put_all(file, content, len(head) + place["data_offsets"][0])
            told(len(content))
        os.ftruncate(file.fileno(), len(head) + header.data)
        os.fsync(file.fileno())
