"""Draws random weights for shrunken models: name a tensor, give its shape, get the same bytes every time.

A model is described by `Shapes`, a dict from state-dict key to shape (extensions/model/shapes_*.py makes them).
`fill` turns shapes into float32 tensors, each from a generator seeded with the CRC-32 of its key, so neither order
nor a neighbour's shape matters.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from extensions import model
from extensions.base.errors import UserError
from extensions.base.saving import replacing
from extensions.model.checkpoint import read_header
from extensions.model.shapes import Shapes

if TYPE_CHECKING:
    import torch

Scales = Mapping[str, float]

# Above this many bytes of float32 a checkpoint is written in float16.
FLOAT32_LIMIT = 60_000_000
MARK = "standin"
HERE = Path(__file__).parent
SHAPES = Path(model.__file__).parent


def fill(shapes: Shapes, scale: Callable[[str], float]) -> dict[str, torch.Tensor]:
    """Return float32 tensors for `shapes`.

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
    """Return a scale function: the first suffix in `scales` that ends the key decides; otherwise 1."""

    def scale(name: str) -> float:
        return next((value for suffix, value in scales.items() if name.endswith(suffix)), 1.0)

    return scale


def fingerprint() -> str:
    """Return digest of the code that decides what a stand-in holds; any edit of it changes the digest."""
    digest = hashlib.sha256()
    sources = [path for pattern in ("weights.py", "recipe.py", "model_*.py") for path in HERE.glob(pattern)]
    for source in sorted([*sources, *SHAPES.glob("shapes*.py")]):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def wanted(path: Path) -> bool:
    """Tell whether a stand-in must be written to `path`: nothing is there, or one of an earlier recipe.

    A file without our mark is somebody's own model and is never replaced.
    """
    if not path.exists():
        return True
    return _mark(path) not in (None, fingerprint())


def ensure(path: Path, tensors: Callable[[], Mapping[str, torch.Tensor]]) -> None:
    """Write a stand-in (safetensors, float16) to `path` unless a current one, or a foreign file, is there.

    UserError when the folder cannot be written.
    """
    if wanted(path):
        save_checkpoint(tensors(), path)


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
