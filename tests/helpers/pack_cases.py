"""Small packs of `data_set`, several shards a bucket, and what is in them."""

from extensions.data import store
from extensions.data.pack import make

TWO_RECORDS = 25_000  # bytes; of the largest bucket


def wish(data_set, **more):
    return make.Wish(data_set.data, data_set.folder / "pack", **{"shard_bytes": TWO_RECORDS} | more)


def rows(data_set, folder, index=None):
    """Every row's latents, through the pack."""
    index = index or data_set.index
    opened = store.open_store(folder, index)
    return [opened.read(row, index[row]) for row in range(len(index))]
