"""Reads the records of a pack in training.

With `os.preadv` into a fresh buffer, not through a map of the shard. From a warm cache the map is faster
(`benchmarks/latents.py`), but: a bad sector or a shard cut short is an error here that names the record, where a map
kills the process with SIGBUS; a record is one request to the disk, not one a page; and where the kernel maps single
pages, a worker that in time touches all of a set keeps 2 MB of page tables a GiB: 200 GB for 3 TB and 32 workers.
keys.arrow and the places of the rows, which are small and read in good order, are mapped.
"""

import os
import resource
from collections import OrderedDict
from pathlib import Path

import numpy as np

from extensions.base.errors import UserError
from extensions.data.latents import NOT_THERE, CorruptSample, Latents
from extensions.data.pack import header
from extensions.data.pack.places import places, split


class Shards:
    """The records of a pack by place. Files are opened at their first use, in each worker for itself."""

    def __init__(self, folder: Path, pack: header.Pack):
        self.folder, self.pack = folder, pack
        self.files: OrderedDict[int, int] = OrderedDict()
        # Half of what a process may have open; 12.4M images of float32 at 1024x1024 are 800 shards of 4 GiB.
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most = len(pack.shards) if allowed == resource.RLIM_INFINITY else max(1, allowed // 2)

    def read(self, place: int, key: str, width: int, height: int) -> Latents:
        """One record. CorruptSample: checksum, bad sector, cut short, other size. UserError: shard missing."""
        shard, number = split(place)
        layout = self.pack.layout(shard)
        if (layout.width, layout.height) != (width, height):
            raise CorruptSample(f"{self.name(shard)}: {key!r} is not of its train_resolution, {width}x{height}")
        record = np.empty(layout.record_bytes, np.uint8)
        self.fill(record, shard, number, key)
        if not layout.intact(record):
            raise self.corrupt(shard, number, key, "its checksum is wrong")
        return layout.decode(record)

    def fill(self, record: np.ndarray, shard: int, number: int, key: str) -> None:
        """Read the bytes of a record."""
        file = self.file(shard)
        try:
            read = os.preadv(file, [record.data], number * len(record))
        except OSError as error:
            if error.errno in NOT_THERE:
                raise UserError(f"{self.name(shard)} cannot be read ({error.strerror}); mend the disk") from None
            raise self.corrupt(shard, number, key, error.strerror or "it cannot be read") from None
        if read != len(record):
            raise self.corrupt(shard, number, key, "it is cut short")

    def file(self, shard: int) -> int:
        """Return the descriptor of a shard, opened now or before. UserError where it is missing."""
        if shard in self.files:
            return self.files[shard]
        try:
            file = os.open(self.folder / self.pack.shards[shard].file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"shard {self.name(shard)} is missing ({error.strerror}); restore it") from None
        # Samples are read in random order: what the kernel would read ahead is another sample's.
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        self.files[shard] = file
        if len(self.files) > self.most:
            os.close(self.files.popitem(last=False)[1])
        return file

    def name(self, shard: int) -> Path:
        return self.folder / self.pack.shards[shard].file

    def corrupt(self, shard: int, number: int, key: str, reason: str) -> CorruptSample:
        where = f"{self.name(shard)}: record {number} ({key!r}) is corrupt"
        return CorruptSample(f"{where}: {reason}; pack again, or take the id out of the metadata")

    def close(self) -> None:
        """Close what is open."""
        while self.files:
            os.close(self.files.popitem()[1])


class PackedStore:
    """The latents of an index's rows. UserError where the pack or one of the ids is missing."""

    def __init__(self, folder: Path, index):
        self.shards = Shards(folder, header.read(folder))
        self.places = places(folder, self.shards.pack, index)

    def read(self, row: int, sample) -> Latents:
        """Return the latents of a row, which is `sample`, as float32."""
        return self.shards.read(int(self.places[row]), sample.key, sample.width, sample.height)
