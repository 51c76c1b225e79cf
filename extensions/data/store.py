"""Opens what holds the latents of an index's rows: a folder of npz files, or a pack of the same."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from extensions.data.npz import NpzStore
from extensions.data.pack import header, is_pack
from extensions.data.pack.store import PackedStore

# A set of this size is opened whole before training (some seconds); a larger one is checked as it is
# read, because opening 12.4 million archives would take hours.
OPEN_ALL = 20_000
NAMES = 65_536  # file names an Arrow chunk is built of


def open_store(folder: Path, index, open_them: bool = False):
    """Return what reads the latents of an index's rows: `store.read(row, index[row])`. Opening it takes milliseconds.

    That every id has latents the index has made sure of (`index.open_for`); those of a small set are all read where
    `open_them`. UserError or CorruptSample for the first that cannot be, and for a pack that is not whole.
    """
    store = PackedStore(folder, index) if is_pack(folder) else NpzStore(folder)
    if open_them and len(index) <= OPEN_ALL:
        for row in range(len(index)):
            store.read(row, index[row])
    return store


def present_ids(folder: Path) -> Iterator[pa.Array]:
    """Ids that have latents, as pieces of Arrow text: 12.4 million Python names would cost over a gigabyte."""
    if is_pack(folder):
        yield from header.keys(folder, header.read(folder)).column("key").chunks
        return
    with os.scandir(folder) as entries:
        names = (entry.name[:-4] for entry in entries if entry.name.endswith(".npz"))
        while len(piece := pa.array(islice(names, NAMES), pa.string())):
            yield piece
