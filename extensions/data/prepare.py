"""Images to latents: one `<id>.npz` an image, and one metadata file for all.

An npz holds `latents` float32 (4, h/8, w/8), not yet multiplied by the model's scaling factor;
`original_size` int64 [w, h] of the source in pixels; `crop_ltrb` int64 [left, top, right, bottom], the
crop in pixels of the resized image. (The numbers of sd-scripts' `get_crop_ltrb` differ: it places the
whole image inside the bucket, although its own resize covers the bucket and cuts, as done here.)

The metadata maps id to `tags`, `caption` (each absent where the source has none) and
`train_resolution` [w, h]. Beside the npz files lies `prepared.json`, from which a second call sees which
of them are still good.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extensions.data.buckets import Resolution, bucket_resolutions, choose_bucket, cover
from extensions.errors import UserError
from extensions.saving import replacing, write_text

if TYPE_CHECKING:
    import numpy as np

# float32 (1, 3, H, W) in [-1, 1] to latents (1, 4, H/8, W/8); arrays of numpy or torch on the CPU.
Encode = Callable[[Any], Any]
LEDGER = "prepared.json"


@dataclass(frozen=True)
class Source:
    """An image file and its texts; None stands for a text that the metadata shall not have."""

    id: str
    path: Path
    tags: str | None = None
    caption: str | None = None


def prepare(
    sources: Iterable[Source], folder: Path, metadata: Path, encode: Encode, *, max_area: int, encoder: str = ""
) -> None:
    """Encode what is new or changed into `folder` and write `metadata`.

    An npz is kept while source (size and time of change), `max_area` (px) and `encoder` (any name for
    the weights behind `encode`) are as they were. Every file appears whole or not at all, and a run
    that was cut short goes on where it stopped.
    Raises UserError for a file that is not an image, and for an id that occurs twice or is a path.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sources = _checked(sources)
    known = _read_ledger(folder / LEDGER)
    ledger = dict(known)
    try:
        for source in sources:
            line = known.get(source.id)
            ledger[source.id] = _one(source, folder, encode, max_area=max_area, encoder=encoder, known=line)
    finally:
        if ledger != known:
            _write_json(folder / LEDGER, ledger)
    _write_json(Path(metadata), {s.id: _entry(s, ledger[s.id]["train_resolution"]) for s in sources})


def _checked(sources: Iterable[Source]) -> list[Source]:
    sources, seen = list(sources), set()
    for source in sources:
        if source.id in seen or not source.id or "/" in source.id or "\\" in source.id:
            raise UserError(f"id {source.id!r} of {source.path} is a path or occurs twice; give another id")
        seen.add(source.id)
    return sources


def _one(
    source: Source, folder: Path, encode: Encode, *, max_area: int, encoder: str, known: dict | None
) -> dict[str, Any]:
    """Encode one source unless its ledger line `known` still holds; return its ledger line."""
    try:
        stat = source.path.stat()
    except OSError as error:
        raise UserError(f"cannot read {source.path}: {error.strerror}; restore it or leave it out") from error
    state = {"source": [stat.st_size, stat.st_mtime_ns], "max_area": max_area, "encoder": encoder}
    target = folder / f"{source.id}.npz"
    if known and state.items() <= known.items() and zipfile.is_zipfile(target):
        return known
    arrays = _arrays(source.path, encode, max_area)
    _write_npz(target, arrays)
    height, width = arrays["latents"].shape[1:]
    return {**state, "train_resolution": [8 * width, 8 * height]}


def _arrays(path: Path, encode: Encode, max_area: int) -> dict[str, np.ndarray]:
    import numpy as np

    pixels, size, crop = load_pixels(path, bucket_resolutions(max_area))
    latents = np.asarray(encode(pixels), dtype=np.float32)[0]
    return {"latents": latents, "original_size": np.array(size), "crop_ltrb": np.array(crop)}


def load_pixels(path: Path, buckets: list[Resolution]) -> tuple[np.ndarray, Resolution, tuple[int, int, int, int]]:
    """Read, resize to cover its bucket and crop to the centre.

    Returns pixels float32 (1, 3, H, W) in [-1, 1], the source's size and the crop in the resized image.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"cannot read the image {path}: {error}; repair it or take it out") from error
    resized, crop = cover(image.size, choose_bucket(image.size, buckets))
    # Averaging when shrinking and Lanczos when enlarging, the pair of filters that sd-scripts uses.
    smaller = resized[0] < image.width
    fitted = image.resize(resized, Image.Resampling.BOX if smaller else Image.Resampling.LANCZOS).crop(crop)
    pixels = np.asarray(fitted, dtype=np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    return np.ascontiguousarray(pixels), image.size, crop


def _entry(source: Source, resolution: list[int]) -> dict[str, Any]:
    texts = {"tags": source.tags, "caption": source.caption}
    return {k: v for k, v in texts.items() if v is not None} | {"train_resolution": resolution}


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import numpy as np

    with replacing(path, durable=False) as temporary:
        np.savez(temporary, **arrays)


def _read_ledger(path: Path) -> dict[str, dict]:
    # A ledger that cannot be read only costs another encoding; it is not worth an error.
    try:
        ledger = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return ledger if isinstance(ledger, dict) else {}


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
