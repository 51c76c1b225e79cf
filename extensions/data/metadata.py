"""Reads one entry of the metadata, whichever file it stands in.

The historical `meta_lat.json` maps id to `tags`, `caption` and `train_resolution`; upstream's files say
`image_size` for the last, and its jsonl names an `image_path` instead of an id.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from extensions.base.errors import UserError

SIZE_FIELDS = ("train_resolution", "image_size")  # the first that is there counts
LONGEST = 200  # characters of an id in a message
LARGEST_SIDE = 1 << 20  # pixels; far beyond any image, and safe in an int32


@dataclass(frozen=True)
class Sample:
    """One image's texts ("" where the metadata have none) and training size in pixels.

    fields: (name, value) of the other fields of its metadata that the run asks for; those that it has.
    """

    key: str
    tags: str
    caption: str
    width: int
    height: int
    fields: tuple[tuple[str, float | str], ...] = ()


def sample_of(path: Path, key: str, entry) -> tuple[Sample, str]:
    """Read (the sample, what is wrong with its size or ""). A bad size is (0, 0): others say whether it may stay.

    UserError naming the id and the field where the entry is of another kind altogether.
    """
    if not isinstance(entry, dict):
        raise UserError(
            f"{path}: the entry of {key[:LONGEST]!r} is not an object with tags, caption and train_resolution"
        )
    tags, caption = entry.get("tags"), entry.get("caption")
    for name, text in (("tags", tags), ("caption", caption)):
        if not isinstance(text, (str, type(None))):
            raise UserError(f"{path}: {name} of {key[:LONGEST]!r} is not a text")
    name = next((name for name in SIZE_FIELDS if name in entry), SIZE_FIELDS[0])
    size = entry.get(name)
    if not is_size(size):
        bad = f"{name} of {key[:LONGEST]!r} is {str(size)[:60]}; it must be [width, height], multiples of 8"
        return Sample(key, tags or "", caption or "", 0, 0), bad
    return Sample(key, tags or "", caption or "", size[0], size[1]), ""


def is_size(size: object) -> TypeGuard[list[int]]:
    """Tell whether this is [width, height] in whole latents pixels."""
    if not (isinstance(size, list) and len(size) == 2):
        return False
    return all(type(side) is int and 0 < side <= LARGEST_SIDE and side % 8 == 0 for side in size)


def key_of(image_path: str) -> str:
    """Return the id in upstream's `image_path`: what remains without folder (of Windows, too) and extension."""
    return re.split(r"[/\\]", path_of(image_path))[-1]


def path_of(image_path: str) -> str:
    """Return upstream's `image_path` with its folders and without its extension."""
    name = re.split(r"[/\\]", image_path)[-1]
    stem, dot, extension = name.rpartition(".")
    return image_path.removesuffix(dot + extension) if dot and stem else image_path
