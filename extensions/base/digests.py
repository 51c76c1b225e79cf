"""Computes the digest of a file, in blocks."""

from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 24


def of_file(path: str | Path, hasher) -> str:
    """Feed a file to a new hasher (hashlib's or xxhash's); its digest in hexadecimal."""
    with open(path, "rb") as file:
        return of_open(file, hasher)


def of_open(file: BinaryIO, hasher) -> str:
    """Return the same of an open file, from where it stands."""
    while block := file.read(BLOCK):
        hasher.update(block)
    return hasher.hexdigest()
