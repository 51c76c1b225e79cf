"""Lays out one record of a pack, and names the dtypes that latents are stored in.

latents       (4, h/8, w/8) in C order, little-endian
sizes         int32 x 4: original width and height, crop left and top (pixels; no trainer reads the
              crop's right and bottom)
checksum      xxh3-64 of everything before it, 8 bytes
zeros         up to a multiple of 64 bytes
"""

import struct
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xxhash

from extensions.data.latents import CorruptSample, Latents

ALIGN = 64
SIZES = struct.Struct("<4i")
CHECKSUM = struct.Struct("<Q")
# bfloat16 is unknown to numpy; its bits are the upper half of a float32's.
STORED: dict[str, np.dtype] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "bfloat16": np.dtype("<u2")}


def lowered(latents: np.ndarray, dtype: str, key: str) -> np.ndarray:
    """Finite latents as they are stored. CorruptSample for a value that `dtype` (a key of STORED) cannot hold."""
    with np.errstate(over="ignore"):
        stored = bfloat16_bits(latents) if dtype == "bfloat16" else latents.astype(STORED[dtype])
    if not np.isfinite(widened(stored)).all():
        most = float(np.abs(latents).max())
        raise CorruptSample(f"latents of {key!r} reach {most:.4g}, more than {dtype} holds; choose another dtype")
    return stored


def bfloat16_bits(latents: np.ndarray) -> np.ndarray:
    """uint16, rounded to nearest, ties to even."""
    bits = latents.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def widened(stored: np.ndarray) -> np.ndarray:
    """float32 of stored latents; no copy where they are float32 already."""
    if stored.dtype == STORED["float32"]:
        return stored
    import torch  # ten times as fast as numpy at this

    if stored.dtype == STORED["bfloat16"]:
        return torch.from_numpy(stored.view(np.int16)).view(torch.bfloat16).float().numpy()
    return torch.from_numpy(stored).float().numpy()


@dataclass(frozen=True)
class Layout:
    """Where things lie in the records of one bucket. width, height: pixels; dtype: a key of STORED."""

    width: int
    height: int
    dtype: str

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        return 4, self.height // 8, self.width // 8

    @cached_property
    def latent_bytes(self) -> int:
        return int(np.prod(self.shape)) * STORED[self.dtype].itemsize

    @cached_property
    def payload_bytes(self) -> int:
        """What the checksum covers."""
        return self.latent_bytes + SIZES.size

    @cached_property
    def record_bytes(self) -> int:
        return -(-(self.payload_bytes + CHECKSUM.size) // ALIGN) * ALIGN

    def encode(self, stored: np.ndarray, original: tuple[int, int], crop: tuple[int, int]) -> bytes:
        """Return a whole record. stored: latents of `shape` in STORED[dtype]."""
        payload = stored.tobytes() + SIZES.pack(*original, *crop)
        return (payload + CHECKSUM.pack(xxhash.xxh3_64_intdigest(payload))).ljust(self.record_bytes, b"\0")

    def intact(self, record: np.ndarray) -> bool:
        """Tell whether the checksum of a record, uint8 (record_bytes,), is right."""
        (found,) = CHECKSUM.unpack_from(record.data, self.payload_bytes)
        return found == xxhash.xxh3_64_intdigest(record[: self.payload_bytes].data)

    def stored(self, record: np.ndarray) -> np.ndarray:
        """Return the latents of a record as they are stored: a view."""
        return np.ndarray(self.shape, STORED[self.dtype], record)

    def decode(self, record: np.ndarray) -> Latents:
        """Return what a trainer reads; float32 latents are a view of the record."""
        width, height, left, top = SIZES.unpack_from(record.data, self.latent_bytes)
        return Latents(widened(self.stored(record)), (width, height), (left, top))
