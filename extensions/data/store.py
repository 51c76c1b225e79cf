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
    if hasattr(index, "sources"):
        from extensions.data.mixture import MixedStore  # which reads indexes, whose latents are looked for here

        pairs = zip(index.sources, index.indexes, strict=True)
        return MixedStore(index, [open_store(source.folder, own, open_them) for source, own in pairs])
    store = PackedStore(folder, index) if is_pack(folder) else NpzStore(folder)
    if open_them and len(index) <= OPEN_ALL:
        for row in range(len(index)):
            store.read(row, index[row])
    return store


def present_ids(folder: Path, below: dict[str, int] | None = None) -> Iterator[pa.Array]:
    """Ids that have latents, as pieces of Arrow text: 12.4 million Python names would cost over a gigabyte.

    below: gets the folders below, each with the time of its change (ns) before it was read: ids may have folders.
    """
    if is_pack(folder):
        yield from header.keys(folder, header.read(folder)).column("key").chunks
        return
    names = names_below(folder, {} if below is None else below)
    while len(piece := pa.array(islice(names, NAMES), pa.string())):
        yield piece


def names_below(folder: Path, below: dict[str, int]) -> Iterator[str]:
    """Yield the ids of npz files, `a` or `folder/a`. Hidden folders hold none; of linked ones each is read once."""
    folders, seen = [""], set()
    while folders:
        inner = folders.pop()
        facts = os.stat(folder / inner)
        if (facts.st_dev, facts.st_ino) in seen:
            continue
        seen.add((facts.st_dev, facts.st_ino))
        before = f"{inner}/" if inner else ""
        if inner:
            below[inner] = facts.st_mtime_ns
        with os.scandir(folder / inner) as entries:
            for entry in entries:
                if entry.name.endswith(".npz"):
                    yield f"{before}{entry.name[:-4]}"
                elif not entry.name.startswith(".") and entry.is_dir():
                    folders.append(f"{before}{entry.name}")
