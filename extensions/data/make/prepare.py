"""Prepares images as latents: one `<id>.npz` an image, and what the metadata say of it.

An npz holds `latents` float32 (4, h/8, w/8), not yet multiplied by the model's scaling factor;
`original_size` int64 [w, h] of the upright source in pixels; `crop_ltrb` int64 [left, top, right, bottom], the
crop in pixels of the resized image. (The numbers of sd-scripts' `get_crop_ltrb` differ: it places the
whole image inside the bucket, although its own resize covers the bucket and cuts, as done here.)

The metadata map id to `tags`, `caption` (each absent where the source has none) and `train_resolution` [w, h].
A ledger has one line of JSON an npz, added when it stands under its name: a call that was killed goes on there, and
a later one sees which files are still good.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypedDict

import numpy as np

from extensions.base.errors import UserError
from extensions.base.saving import replacing, write_text
from extensions.data.buckets import Resolution, Rule, nearest
from extensions.data.make.pixels import BadImage, Picture, Reading, fitted, read, require_file
from extensions.data.npz import path_of

# float32 (1, 3, H, W) in [-1, 1] to latents (1, 4, H/8, W/8); arrays of numpy or torch on the CPU.
Encode = Callable[[Any], Any]
LEDGER = "prepared.jsonl"


@dataclass(frozen=True)
class Source:
    """An image file and its texts; None stands for a text that the metadata shall not have."""

    id: str
    path: Path
    tags: str | None = None
    caption: str | None = None


@dataclass(frozen=True)
class Recipe:
    """What decides an image's latents. encoder: any name for the weights behind `encode`."""

    encode: Encode
    rule: Rule
    encoder: str = ""
    reading: Reading = Reading()


class Arrays(TypedDict):
    """What an npz holds; see this file's head."""

    latents: np.ndarray
    original_size: np.ndarray
    crop_ltrb: np.ndarray


def prepare(
    sources: Iterable[Source], folder: Path, metadata: Path, encode: Encode, *, max_area: int, encoder: str = ""
) -> None:
    """Encode what is new or changed into `folder` and write `metadata`, in this process; buckets are `nearest`.

    An npz is kept while source (size and time of change), `max_area` (px) and `encoder` are as they were. Every file
    appears whole or not at all, and a run that was cut short goes on where it stopped.
    Raises UserError for a file that is not an image, and for an id that occurs twice or is a path.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sources = checked(sources)
    recipe = Recipe(encode, nearest(max_area), encoder)
    entries = {}
    with Ledger(folder / LEDGER) as ledger:
        for source in sources:
            entries[source.id] = entry_of(source, encoded(source, folder, recipe, ledger))
    write_if_new(Path(metadata), json.dumps(entries, ensure_ascii=False, indent=1))


def checked(sources: Iterable[Source]) -> list[Source]:
    """Return the sources. UserError for an id that is a path or occurs twice."""
    sources, seen = list(sources), set()
    for source in sources:
        if source.id in seen or not source.id or "/" in source.id or "\\" in source.id:
            raise UserError(f"id {source.id!r} of {source.path} is a path or occurs twice; give another id")
        seen.add(source.id)
    return sources


class Ledger:
    """Which npz files were made of what, kept as they are made. One process writes one ledger."""

    def __init__(self, path: Path):
        self.path = path
        self.known: dict[str, dict[str, Any]] = {}
        self.file: TextIO | None = None

    def __enter__(self):
        # Whatever cannot be read, a last line cut by a kill for one, only costs another encoding.
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    self.known[entry.pop("id")] = entry
                except (ValueError, KeyError, AttributeError, TypeError):
                    continue
        return self

    def __exit__(self, *_):
        if self.file:
            self.file.close()

    def add(self, key: str, entry: dict[str, Any]) -> None:
        """Put down that an image's npz stands under its name."""
        if self.file is None:
            self.file = open(self.path, "a", encoding="utf-8", buffering=1)
            self.file.write("\n")  # a line that a kill has cut must not swallow this one
        self.file.write(json.dumps({"id": key} | entry) + "\n")


def encoded(source: Source, folder: Path, recipe: Recipe, ledger: Ledger) -> Resolution:
    """Encode one image, unless its line of the ledger still holds; its bucket. BadImage or UserError."""
    require_file(source.path)
    stat = source.path.stat()
    state = {"source": [stat.st_size, stat.st_mtime_ns], "rule": recipe.rule.name, "encoder": recipe.encoder}
    target, known = path_of(folder, source.id), ledger.known.get(source.id)
    if known and state.items() <= known.items() and zipfile.is_zipfile(target):
        known = completed(source, known, recipe, ledger)
        if known and known["background"] in (None, recipe.reading.background):
            recipe.reading.require_fit(source.path, tuple(known["size"]), recipe.rule)
            width, height = known["train_resolution"]
            return width, height
    arrays, picture = arrays_of(source.path, recipe)
    with replacing(target, durable=False) as temporary:
        np.savez(temporary, **arrays)
    height, width = (8 * side for side in arrays["latents"].shape[1:])
    ledger.add(source.id, {**state, "train_resolution": [width, height], **seen(picture)})
    return width, height


def seen(picture: Picture) -> dict[str, Any]:
    """Return what a ledger says of how an image was read."""
    return {"size": list(picture.image.size), "background": picture.background}


def completed(source: Source, known: dict[str, Any], recipe: Recipe, ledger: Ledger) -> dict[str, Any] | None:
    """Return what a ledger knows of an image, with how it was read; None where it was read otherwise than now.

    Older ledgers do not say: images were neither turned, nor laid on a background, nor brought to 8 bits. Those for
    which that changes nothing, nearly all, are not encoded again.
    """
    if "size" in known and "background" in known:
        return known
    picture = read(source.path, recipe.reading.background)
    if not picture.plain:
        return None
    ledger.add(source.id, known | seen(picture))
    return known | seen(picture)


def arrays_of(path: Path, recipe: Recipe) -> tuple[Arrays, Picture]:
    """Return the arrays of an image's npz, and the picture."""
    picture = read(path, recipe.reading.background)
    size = picture.image.size
    recipe.reading.require_fit(path, size, recipe.rule)
    pixels, crop = fitted(picture.image, recipe.rule)
    latents = np.asarray(recipe.encode(pixels), dtype=np.float32)[0]
    if not np.isfinite(latents).all():
        raise BadImage(f"the latents of {path} hold NaN or infinity; take it out, or give another autoencoder")
    return {"latents": latents, "original_size": np.array(size), "crop_ltrb": np.array(crop)}, picture


def entry_of(source: Source, resolution: Resolution) -> dict[str, Any]:
    """Return what the metadata say of an image."""
    texts = {"tags": source.tags, "caption": source.caption}
    return {k: v for k, v in texts.items() if v is not None} | {"train_resolution": list(resolution)}


def write_if_new(path: Path, text: str) -> None:
    """Replace a text file, unless it holds the text already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
