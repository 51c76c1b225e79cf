"""Lays out what the encoders gave for a text, and the shards in which that stands.

A record: the first encoder's states (tokens, d1), the second's (tokens, d2), pooled (d2), all little-endian in the
pack's dtype; the xxh3-64 of these bytes, seeded with the row that they are of, 8 bytes.

A shard: the records of some rows; then its table, offset and tokens of each text, rows x texts; then the xxh3-64 of
the table. Texts of a row that are equal have one record.
"""

from dataclasses import dataclass

import numpy as np
import torch
import xxhash

CHECKSUM = 8
TABLE = np.dtype([("offset", "<i8"), ("tokens", "<i4")])
EMPTY = (1 << 64) - 1  # the seed of the empty chunk, which is of no row
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Damaged(Exception):
    """Bytes are not those that were written."""


@dataclass(frozen=True)
class Layout:
    """widths: d1 and d2. dtype: a key of DTYPES."""

    widths: tuple[int, int]
    dtype: str

    def bytes_of(self, tokens: int) -> int:
        """Return the size of a record of so many tokens."""
        return self._numbers(tokens) * DTYPES[self.dtype].itemsize + CHECKSUM

    def _numbers(self, tokens: int) -> int:
        return tokens * sum(self.widths) + self.widths[1]

    def encode(self, states: list[torch.Tensor], seed: int) -> bytes:
        """Return the record of [(1, tokens, d1), (1, tokens, d2), (1, d2)]."""
        flat = torch.cat([each.detach().reshape(-1).to("cpu", DTYPES[self.dtype]) for each in states])
        content = flat.view(torch.uint8).numpy().tobytes()
        return content + digest(content, seed)

    def decode(self, record: bytes, tokens: int, seed: int) -> list[torch.Tensor]:
        """Return [(tokens, d1), (tokens, d2), (d2,)], float32 of the same value. Damaged."""
        content, own = record[:-CHECKSUM], record[-CHECKSUM:]
        if len(record) != self.bytes_of(tokens) or digest(content, seed) != own:
            raise Damaged
        flat = torch.frombuffer(bytearray(content), dtype=DTYPES[self.dtype]).float()
        first, second = self.widths
        parts = flat.split([tokens * first, tokens * second, second])
        return [parts[0].view(tokens, first), parts[1].view(tokens, second), parts[2]]


def digest(content: bytes | memoryview, seed: int = 0) -> bytes:
    """xxh3-64 as 8 bytes."""
    return xxhash.xxh3_64_intdigest(content, seed).to_bytes(CHECKSUM, "little")


def table_bytes(rows: int, texts: int) -> int:
    """Return the size of a shard's end: its table, and the checksum of that."""
    return rows * texts * TABLE.itemsize + CHECKSUM


def table_of(end: bytes, rows: int, texts: int) -> np.ndarray:
    """Return the table (rows, texts) of a shard's end. Damaged."""
    if len(end) != table_bytes(rows, texts) or digest(end[:-CHECKSUM]) != end[-CHECKSUM:]:
        raise Damaged
    return np.frombuffer(end[:-CHECKSUM], TABLE).reshape(rows, texts)
