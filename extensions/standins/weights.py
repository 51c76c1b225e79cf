"""Random weights for shrunken models: name a tensor, give its shape, get the same bytes every time.

A model is described by `Shapes`, a dict from state-dict key to shape; the layouts (layout_unet.py,
layout_vae.py, layout_text.py) make them. `fill` turns shapes into float32 tensors, each from a
generator seeded with the CRC-32 of its key, so neither order nor a neighbour's shape matters.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from extensions.checkpoint import read_header
from extensions.errors import UserError
from extensions.saving import replacing

if TYPE_CHECKING:
    import torch

Shapes = dict[str, tuple[int, ...]]
Scales = Mapping[str, float]

# Above this many bytes of float32 a checkpoint is written in float16.
FLOAT32_LIMIT = 60_000_000
MARK = "standin"


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    """Shapes of a fully connected layer: weight (out, into) and, unless refused, bias (out,)."""
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def conv(name: str, out: int, into: int, kernel: int) -> Shapes:
    """Shapes of a square convolution: weight (out, into, kernel, kernel), bias (out,)."""
    return {f"{name}.weight": (out, into, kernel, kernel), f"{name}.bias": (out,)}


def norm(name: str, channels: int) -> Shapes:
    """Shapes of a layer or group norm: weight and bias, both (channels,)."""
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def prefixed(prefix: str, shapes: Shapes) -> Shapes:
    """The same shapes under keys that start with `prefix`."""
    return {prefix + name: shape for name, shape in shapes.items()}


def fill(shapes: Shapes, scale: Callable[[str], float]) -> dict[str, torch.Tensor]:
    """Float32 tensors for `shapes`.

    A matrix or kernel is normal with standard deviation `scale(key) / sqrt(fan_in)`; a bias is 0; the
    weight of a norm is `scale(key)`.
    """
    return {name: _tensor(name, shape, scale(name)) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...], scale: float) -> torch.Tensor:
    import torch

    if len(shape) < 2:
        return torch.full(shape, 0.0 if name.endswith("bias") else scale)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    deviation = scale / math.sqrt(math.prod(shape[1:]))
    return torch.randn(shape, generator=generator) * deviation


def by_suffix(scales: Scales) -> Callable[[str], float]:
    """A scale function: the first suffix in `scales` that ends the key decides; otherwise 1."""

    def scale(name: str) -> float:
        return next((value for suffix, value in scales.items() if name.endswith(suffix)), 1.0)

    return scale


def fingerprint() -> str:
    """Digest of the code that decides what a stand-in holds; any edit of it changes the digest."""
    digest = hashlib.sha256()
    for pattern in ("weights.py", "recipe.py", "layout_*.py", "model_*.py"):
        for source in sorted(Path(__file__).parent.glob(pattern)):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def wanted(path: Path) -> bool:
    """Whether a stand-in must be written to `path`: nothing is there, or one of an earlier recipe.

    A file without our mark is somebody's own model and is never replaced.
    """
    if not path.exists():
        return True
    return _mark(path) not in (None, fingerprint())


def _mark(path: Path) -> str | None:
    try:
        return read_header(path).metadata.get(MARK)
    except UserError:  # no safetensors file: certainly not ours
        return None


def save_checkpoint(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write `tensors` to `path` whole or not at all: float32, or float16 if that passes FLOAT32_LIMIT."""
    import torch
    from safetensors.torch import save

    size = sum(4 * t.numel() for t in tensors.values() if t.is_floating_point())
    dtype = torch.float16 if size > FLOAT32_LIMIT else torch.float32
    stored = {k: t.to(dtype) if t.is_floating_point() else t for k, t in sorted(tensors.items())}
    # One metadata entry only: safetensors writes several in no fixed order.
    with replacing(path) as temporary:
        temporary.write_bytes(save(stored, metadata={MARK: fingerprint()}))
