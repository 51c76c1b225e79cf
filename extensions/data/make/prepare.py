"""Prepares images as latents: one `<id>.npz` an image, and what the metadata say of it.

An npz holds `latents` float32 (4, h/8, w/8), not yet multiplied by the model's scaling factor;
`original_size` int64 [w, h] of the source in pixels; `crop_ltrb` int64 [left, top, right, bottom], the
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
from extensions.data.buckets import Resolution, Rule, cover, nearest

# float32 (1, 3, H, W) in [-1, 1] to latents (1, 4, H/8, W/8); arrays of numpy or torch on the CPU.
Encode = Callable[[Any], Any]
LEDGER = "prepared.jsonl"


class BadImage(UserError):
    """An image that cannot be encoded. The message names the file."""


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
    try:
        stat = source.path.stat()
    except OSError as error:
        raise UserError(f"cannot read {source.path}: {error.strerror}; restore it or leave it out") from error
    state = {"source": [stat.st_size, stat.st_mtime_ns], "rule": recipe.rule.name, "encoder": recipe.encoder}
    target, known = folder / f"{source.id}.npz", ledger.known.get(source.id)
    if known and state.items() <= known.items() and zipfile.is_zipfile(target):
        width, height = known["train_resolution"]
        return width, height
    arrays = arrays_of(source.path, recipe)
    with replacing(target, durable=False) as temporary:
        np.savez(temporary, **arrays)
    height, width = (8 * side for side in arrays["latents"].shape[1:])
    ledger.add(source.id, {**state, "train_resolution": [width, height]})
    return width, height


def arrays_of(path: Path, recipe: Recipe) -> Arrays:
    """Return the arrays of an image's npz."""
    pixels, size, crop = load_pixels(path, recipe.rule)
    latents = np.asarray(recipe.encode(pixels), dtype=np.float32)[0]
    if not np.isfinite(latents).all():
        raise BadImage(f"the latents of {path} hold NaN or infinity; take it out, or give another autoencoder")
    return {"latents": latents, "original_size": np.array(size), "crop_ltrb": np.array(crop)}


def load_pixels(path: Path, rule: Rule) -> tuple[np.ndarray, Resolution, tuple[int, int, int, int]]:
    """Read, resize to cover its bucket and crop to the centre.

    Returns pixels float32 (1, 3, H, W) in [-1, 1], the source's size and the crop in the resized image.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except Exception as error:  # a damaged image raises whatever Pillow's decoders stumble over
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise BadImage(f"cannot read the image {path}: {reason}; repair it or take it out") from error
    resized, crop = cover(image.size, rule.bucket(image.size))
    # Averaging when shrinking and Lanczos when enlarging, the pair of filters that sd-scripts uses.
    smaller = resized[0] < image.width
    fitted = image.resize(resized, Image.Resampling.BOX if smaller else Image.Resampling.LANCZOS).crop(crop)
    pixels = np.asarray(fitted, dtype=np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    return np.ascontiguousarray(pixels), image.size, crop


def entry_of(source: Source, resolution: Resolution) -> dict[str, Any]:
    """Return what the metadata say of an image."""
    texts = {"tags": source.tags, "caption": source.caption}
    return {k: v for k, v in texts.items() if v is not None} | {"train_resolution": list(resolution)}


def write_if_new(path: Path, text: str) -> None:
    """Replace a text file, unless it holds the text already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
