"""Reads a weight a sample from a file of lines, id and weight with a tab between, into twelve bytes a sample."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xxhash

from extensions.base.errors import UserError, printable

PROBE = 1000  # ids that are kept, to ask whether the data set has any


class SampleWeights:
    """Weights of samples by id; of one that the file does not name 1."""

    def __init__(self, path: Path):
        """Read the file. UserError with the line that is wrong."""
        hashes, weights = array("Q"), array("f")
        self.some: list[str] = []
        try:
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file, start=1):
                    key, weight = _of_line(path, number, line.rstrip("\r\n"))
                    hashes.append(xxhash.xxh3_64_intdigest(key.encode()))
                    weights.append(weight)
                    if len(self.some) < PROBE:
                        self.some.append(key)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--sample_weights={path} cannot be read ({error}); give another") from None
        keys = np.frombuffer(hashes, np.uint64) if hashes else np.empty(0, np.uint64)
        order = np.argsort(keys, kind="stable")
        self.keys, self.values = keys[order], np.frombuffer(weights or array("f"), np.float32)[order]
        if not len(keys):
            raise UserError(f"--sample_weights={path} is empty; give lines of id, tab, weight, or take it out")
        if (twice := np.flatnonzero(self.keys[1:] == self.keys[:-1])).size:
            line = int(order[twice[0] + 1]) + 1
            raise UserError(f"--sample_weights={path}: line {line} names an id a second time; each has one weight")

    def of(self, keys: Iterable[str]) -> list[float]:
        """Return the weights of these ids."""
        wanted = np.array([xxhash.xxh3_64_intdigest(key.encode()) for key in keys], np.uint64)
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[places] == wanted, self.values[places], 1.0).tolist()

    def digest(self) -> str:
        """Return what tells these weights from others."""
        return xxhash.xxh3_128_hexdigest(self.keys.tobytes() + self.values.tobytes())


def _of_line(path: Path, number: int, line: str) -> tuple[str, float]:
    key, tab, text = line.rpartition("\t")
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (tab and key and 0 <= weight < math.inf):
        raise UserError(
            f"--sample_weights={path}: line {number} is {printable(line)[:60]!r}; give id, tab and a weight from 0 up"
        )
    return key, weight
