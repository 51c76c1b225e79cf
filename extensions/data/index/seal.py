"""Seals an index: checksums, in the file itself, of all that Arrow and the order of the data take on trust.

Arrow follows the offsets that it finds: a flipped bit in one of them reads another text, or past the map. So nothing
is given to it before it was verified. The seal is a value of fixed length among the schema's metadata, filled in
once the file is written; an Arrow file has its schema at the start and once more in its footer. It holds, as uint64:

    bytes of the file
    xxh3-64 of the bucket numbers of all rows
    xxh3-64 of everything outside the bodies of the record batches, the seals themselves left out
    offset and length of each body
    xxh3-64 of each batch's keys
    xxh3-64 of these numbers

What lies in the bodies is verified where it is read: a row by its own checksum, the keys of a batch by the seal's.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

NAME = b"sdxl_trainer.seal"
MARK = b"xxh3 of this index: "
START = len(b"ARROW1\0\0")
HEAD = 1 << 24  # bytes; the first seal stands in the schema, whose largest part are the names of sources
WORD = 8


class Broken(Exception):
    """Why a file is not what was sealed."""


@dataclass(frozen=True)
class Seal:
    """size: the file's bytes. numbers, structure: above. bodies: int64 (n, 2), offset, length. keys: uint64 (n,)."""

    size: int
    numbers: int
    structure: int
    bodies: np.ndarray
    keys: np.ndarray

    def encode(self) -> bytes:
        """Return the text in the file; as long as `blank` of as many batches."""
        head = np.array([self.size, self.numbers, self.structure], "<u8")
        words = np.concatenate([head, self.bodies.astype("<u8").ravel(), self.keys.astype("<u8")]).tobytes()
        return MARK + (words + xxhash.xxh3_64_intdigest(words).to_bytes(WORD, "little")).hex().encode()

    @classmethod
    def decode(cls, text: bytes) -> "Seal":
        """Read the hexadecimal numbers of a seal. Broken where they are not what was written."""
        content = bytes.fromhex(text[: len(text) // 2 * 2].decode())
        words, own = content[:-WORD], content[-WORD:]
        if (
            len(text) % (2 * WORD)
            or (len(words) // WORD) % 3
            or xxhash.xxh3_64_intdigest(words) != int.from_bytes(own, "little")
        ):
            raise Broken("its checksums are damaged")
        numbers = np.frombuffer(words, "<u8")
        batches = len(numbers) // 3 - 1
        bodies = numbers[3 : 3 + 2 * batches].astype(np.int64).reshape(-1, 2)
        return cls(int(numbers[0]), int(numbers[1]), int(numbers[2]), bodies, numbers[3 + 2 * batches :])


def blank(batches: int) -> bytes:
    """Return what stands in the place of the seal while a file of so many batches is written."""
    return MARK + b"0" * (2 * WORD * (3 * batches + 4))


def digest(*buffers) -> int:
    """Compute the xxh3-64 of Arrow buffers, one after the other; of those that are there."""
    hasher = xxhash.xxh3_64()
    for buffer in buffers:
        if buffer is not None:
            hasher.update(memoryview(buffer))
    return hasher.intdigest()


def seal(path: Path) -> None:
    """Fill in the seal of a file that was just written with a blank one."""
    file = pa.ipc.open_file(pa.memory_map(str(path)))
    batches = [file.get_batch(number) for number in range(file.num_record_batches)]
    bodies = np.array(list(bodies_of(path)), np.int64).reshape(-1, 2)
    size, empty = path.stat().st_size, blank(len(batches))
    made = Seal(
        size=size,
        numbers=digest(batches[0].column("every_bucket").values.buffers()[1]),
        structure=xxhash.xxh3_64_intdigest(outside(path, bodies, size).replace(empty, b"")),
        bodies=bodies,
        keys=np.array([digest(*batch.column("key").buffers()) for batch in batches], np.uint64),
    )
    with open(path, "r+b") as out:
        for start, length in gaps(bodies, size):
            out.seek(start)
            content = out.read(length)
            for found in re.finditer(re.escape(empty), content):
                out.seek(start + found.start())
                out.write(made.encode())


def bodies_of(path: Path) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of the body of each record batch, by a walk over the file's messages."""
    with pa.memory_map(str(path)) as file:
        file.seek(START)
        messages = pa.ipc.MessageReader.open_stream(file)
        for message in messages:
            if message.type == "record batch":
                yield file.tell() - message.body.size, message.body.size


def gaps(bodies: np.ndarray, size: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of what lies outside of the bodies."""
    start = 0
    for offset, length in bodies.tolist():
        yield start, offset - start
        start = offset + length
    yield start, size - start


def outside(path: Path, bodies: np.ndarray, size: int) -> bytes:
    """Read all that lies outside of the bodies: some hundred kilobytes at 12.4 million images."""
    with open(path, "rb", buffering=0) as file:
        return b"".join(os.pread(file.fileno(), length, start) for start, length in gaps(bodies, size))


def verified(path: Path) -> Seal:
    """Read the seal, and hold all against it that Arrow will follow. Broken, OSError."""
    with open(path, "rb") as file:
        found = re.search(re.escape(MARK) + b"([0-9a-f]*)", file.read(HEAD))
    if found is None:
        raise Broken("is no index of this version, or is damaged")
    known = Seal.decode(found[1])
    if path.stat().st_size != known.size:
        raise Broken("is truncated, or longer than it was")
    if xxhash.xxh3_64_intdigest(outside(path, known.bodies, known.size).replace(found[0], b"")) != known.structure:
        raise Broken("is damaged")
    return known
