"""Reads text encoders' outputs in training: each record against its checksum, by `os.pread` as latents are.

Texts of a batch with fewer tokens than its longest get the states of empty chunks behind theirs, as their ids would
have; those whose states are zeros get zeros.
"""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from extensions.base.errors import UserError
from extensions.data.outputs import header, layout

OPEN = 256  # shards that a process has open, each with its table in memory


class Outputs:
    """The outputs of an index's rows. `texts`: how many were drawn of each."""

    def __init__(self, folder: Path):
        """UserError: not there, unfinished, damaged."""
        self.folder, self.pack = folder, header.read(folder)
        self.texts, self.layout = self.pack.texts, self.pack.layout
        self.shard = lru_cache(OPEN)(self._shard)
        tokens = self.pack.empty_tokens
        try:
            content = (folder / header.EMPTY).read_bytes()
            self.empty = self.layout.decode(content, tokens, layout.EMPTY)
        except (OSError, layout.Damaged) as error:
            raise UserError(f"{folder / header.EMPTY} is damaged or gone ({error!r:.60}); {header.AGAIN}") from None

    def epoch_of(self, epoch: int) -> int:
        """Return the epoch, from 1, whose text an epoch, from 1, is trained on."""
        return (epoch - 1) % self.texts + 1

    def read(self, rows: list[int], epoch: int) -> list[torch.Tensor]:
        """Return [(b, tokens, d1), (b, tokens, d2), (b, d2)] of a batch in an epoch, from 1; float32. UserError."""
        found = [self.text(row, self.epoch_of(epoch) - 1) for row in rows]
        longest = max(len(states[0]) for states in found)
        padded = [self.padded(states, longest) for states in found]
        return [torch.stack([states[place] for states in padded]) for place in range(3)]

    def text(self, row: int, number: int) -> list[torch.Tensor]:
        """Return the outputs of one text."""
        shard = row // self.pack.shard_rows
        file, table = self.shard(shard)
        offset, tokens = table[row - shard * self.pack.shard_rows, number].tolist()
        try:
            record = os.pread(file.fileno, self.layout.bytes_of(tokens), offset)
            return self.layout.decode(record, tokens, row)
        except (OSError, layout.Damaged):
            path = self.folder / header.name_of(shard)
            raise UserError(f"{path}: text {number} of row {row} is damaged; {header.AGAIN}") from None

    def padded(self, states: list[torch.Tensor], tokens: int) -> list[torch.Tensor]:
        """Return the outputs of a text with empty chunks behind it."""
        missing = tokens - len(states[0])
        if not missing:
            return states
        count, zeros = missing // len(self.empty[0]), not states[2].any()
        more = [each.repeat(count, 1) * (0 if zeros else 1) for each in self.empty[:2]]
        return [torch.cat([states[0], more[0]]), torch.cat([states[1], more[1]]), states[2]]

    def _shard(self, shard: int) -> tuple["File", np.ndarray]:
        """Return a shard's file and its table."""
        rows = len(self.pack.rows_of(shard))
        file = File(self.folder / header.name_of(shard))
        return file, table_of(file, rows, self.texts)


class File:
    """A file that is open as long as it is used."""

    def __init__(self, path: Path):
        """UserError where it cannot be opened."""
        self.path = path
        try:
            self.fileno = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {header.AGAIN}") from None

    def __del__(self):
        if hasattr(self, "fileno"):
            os.close(self.fileno)


def table_of(file: File, rows: int, texts: int) -> np.ndarray:
    """Return the table at the end of a shard. UserError where it is damaged."""
    length = layout.table_bytes(rows, texts)
    try:
        end = os.pread(file.fileno, length, max(0, os.fstat(file.fileno).st_size - length))
        return layout.table_of(end, rows, texts)
    except (OSError, layout.Damaged):
        raise UserError(f"{file.path} is damaged at its end; {header.AGAIN}") from None
