"""Computes the digest of a file, in blocks."""

from pathlib import Path

BLOCK = 1 << 24


def of_file(path: str | Path, hasher) -> str:
    """Feed a file to a new hasher (hashlib's or xxhash's); its digest in hexadecimal."""
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            hasher.update(block)
    return hasher.hexdigest()
