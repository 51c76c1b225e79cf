"""Writes named tensors as a safetensors file, a piece at a time.

safetensors' own save_file wants every tensor on the CPU at once: an optimizer's state of a large model, copied from
its GPU, is more than a machine may have left. The format is its, and its reader reads it: the length of a header,
the header in JSON, the bytes of the tensors without gaps.
"""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

PIECE = 1 << 28  # bytes of a tensor that are copied from its device and written at once


def write(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write and sync. Of tensors on another device PIECE bytes are in memory at once. OSError as the disk says."""
    # The largest elements first, as the library has them: so each tensor begins at a multiple of its own.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, dict[str, Any]] = {"__metadata__": metadata}
    end = 0
    for name in names:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {"dtype": dtype(tensor.dtype), "shape": list(tensor.shape), "data_offsets": [begin, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb", buffering=0) as file:
        put(file, len(head).to_bytes(8, "little") + head)
        for name in names:
            for piece in pieces(tensors[name]):
                put(file, piece)
        os.fsync(file.fileno())


def pieces(tensor: torch.Tensor) -> Iterator[memoryview]:
    """Yield the bytes of a tensor, in order."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    for piece in flat.split(PIECE) if len(flat) else ():
        yield memoryview(piece.cpu().numpy())


def put(file, content) -> None:
    """Write all: a single write of an unbuffered file may take less, and 2 GB at most."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


@cache
def dtype(kind: torch.dtype) -> str:
    """Return the format's name of a dtype, from the library."""
    return json.loads(save({"x": torch.empty(0, dtype=kind)})[8:])["x"]["dtype"]
