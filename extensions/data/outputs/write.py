"""Makes a pack of text encoders' outputs, shard by shard; whoever calls it has the encoders.

A shard has its name when it is whole, so that an interrupted call is gone on with where it stopped.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from filelock import Timeout

from extensions.base import locks
from extensions.base.errors import UserError
from extensions.base.progress import progress
from extensions.base.saving import replacing, write_text, writing
from extensions.data.outputs import header, layout
from extensions.data.outputs.header import Pack
from extensions.data.outputs.store import File, table_of

SHARD = 4 << 30  # bytes, about
GOES_ON = "make room, then the same command again goes on: finished shards are kept"
LOCK = ".make.lock"
SAMPLED = 512  # texts by whose length the room is reckoned
SPARE = 1.02  # what the pack may take beyond that

Encode = Callable[[str], list[torch.Tensor]]
TextOf = Callable[[int, int], str]


def make(folder: Path, planned: Pack, text_of: TextOf, encode: Encode, tokens_of: Callable[[str], int]) -> Pack:
    """Make the pack of a plan without sizes, or go on. text_of(row, number): of an image's texts, from 0.

    encode(text): [(1, tokens, d1), (1, tokens, d2), (1, d2)]. tokens_of(text): how many that will be. UserError: a
    finished pack is there, another plan's is begun, no room.
    """
    if (folder / header.HEADER).exists():
        raise UserError(f"{folder} holds finished text outputs; give another --text_outputs, or move it away")
    with writing(folder, "give a folder on a disk with room"):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with locks.held(folder / LOCK, timeout=0):
            mean = mean_bytes(planned, text_of, tokens_of)
            planned = begin(folder, planned, mean)
            pending = [shard for shard in range(planned.shards) if not done(folder, planned, shard)]
            require_room(folder, planned, pending, mean)
            with writing(folder, GOES_ON):
                write_empty(folder, planned, encode)
                write_shards(folder, planned, pending, text_of, encode)
                return finish(folder, planned)
    except Timeout:
        raise UserError(
            f"another make text-outputs writes to {folder}; wait for it, or give another folder"
        ) from None


def mean_bytes(planned: Pack, text_of: TextOf, tokens_of: Callable[[str], int]) -> float:
    """Return the mean size of a record, by some texts from everywhere."""
    every = planned.rows * planned.texts
    places = np.unique(np.linspace(0, every - 1, min(every, SAMPLED)).astype(np.int64)).tolist()
    texts = (text_of(*divmod(place, planned.texts)) for place in places)
    return float(np.mean([planned.layout.bytes_of(tokens_of(text)) for text in texts])) + layout.TABLE.itemsize


def begin(folder: Path, planned: Pack, mean: float) -> Pack:
    """Keep the plan, or return the one that is kept if it is the same but for the size of its shards. UserError."""
    path = folder / header.PLANNED
    if path.is_file():
        kept = header.parse(path)
        if replace(kept, shard_rows=planned.shard_rows) != planned:
            raise UserError(f"{folder} holds unfinished text outputs of another run or VARIANTS; give another folder")
        return kept
    rows = max(1, int(SHARD // (mean * planned.texts)))
    planned = replace(planned, shard_rows=min(rows, planned.rows))
    with writing(folder, "give a folder on a disk with room"):
        write_text(path, planned.to_json())
    return planned


def done(folder: Path, planned: Pack, shard: int) -> bool:
    """Tell whether a shard is there; its table says so."""
    path = folder / header.name_of(shard)
    if not path.is_file():
        return False
    try:
        table_of(File(path), len(planned.rows_of(shard)), planned.texts)
    except UserError:
        return False
    return True


def require_room(folder: Path, planned: Pack, pending: Iterable[int], mean: float) -> None:
    """Say what will be written. UserError where the disk has not so much left."""
    rows = sum(len(planned.rows_of(shard)) for shard in pending)
    need, free = mean * rows * planned.texts * SPARE, shutil.disk_usage(folder).free
    what = f"{rows:,} images x {planned.texts:,} texts, {planned.dtype}"
    if need > free:
        raise UserError(
            f"{folder} has {told(free)} free, the text outputs ({what}) take about {told(need)}; give a larger disk, "
            "fewer VARIANTS, or train without them"
        )
    print(f"text outputs: {what}: about {told(need)}, of {told(free)} free", flush=True)


def told(size: float) -> str:
    """ "1.23 GB", "4.5 TB"."""
    return f"{size / 1e12:,.1f} TB" if size >= 1e12 else f"{size / 1e9:,.2f} GB"


def write_empty(folder: Path, planned: Pack, encode: Encode) -> None:
    """Write the record of an empty chunk, with which texts of a batch are made equally long."""
    with replacing(folder / header.EMPTY) as temporary:
        temporary.write_bytes(planned.layout.encode(encode(""), layout.EMPTY))


def write_shards(folder: Path, planned: Pack, pending: list[int], text_of: TextOf, encode: Encode) -> None:
    """Write the shards that are missing."""
    total = sum(len(planned.rows_of(shard)) for shard in pending) * planned.texts
    with progress("encoding", total, "texts") as advance:
        count = 0
        for shard in pending:
            rows = planned.rows_of(shard)
            with replacing(folder / header.name_of(shard)) as temporary, open(temporary, "wb") as file:
                table = np.zeros((len(rows), planned.texts), layout.TABLE)
                for place, row in enumerate(rows):
                    write_row(file, planned, table[place], row, text_of, encode)
                    count += planned.texts
                    advance(count, count)
                content = table.tobytes()
                file.write(content + layout.digest(content))


def write_row(file, planned: Pack, table: np.ndarray, row: int, text_of: TextOf, encode: Encode) -> None:
    """Write the texts of an image, equal ones once."""
    known: dict[str, tuple[int, int]] = {}
    for number in range(planned.texts):
        text = text_of(row, number)
        if text not in known:
            states = encode(text)
            known[text] = file.tell(), states[0].shape[1]
            file.write(planned.layout.encode(states, row))
        table[number] = known[text]


def finish(folder: Path, planned: Pack) -> Pack:
    """Write pack.json; then the plan is done with."""
    sizes = tuple((folder / header.name_of(shard)).stat().st_size for shard in range(planned.shards))
    pack = replace(planned, sizes=sizes)
    write_text(folder / header.HEADER, pack.to_json())
    header.read(folder)
    (folder / header.PLANNED).unlink()
    return pack
