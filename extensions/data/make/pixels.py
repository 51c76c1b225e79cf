"""Reads an image file as the pixels that are encoded: upright, 8 bits a colour, nothing behind what is transparent.

A phone writes how it was held beside the pixels (EXIF orientation), and viewers turn the picture: so is it done here.
Transparent pixels have colours that nobody sees; they are laid on a background. 16 bits of grey become their upper
eight, as Pillow does with 16 bits of each colour. Of several frames or pages the first is read.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from extensions.base.errors import UserError
from extensions.data.buckets import Resolution, Rule, cover

UNREADABLE, SMALL, ENLARGED = "cannot be read", "too small", "enlarged too far"
MIN_SIDE = 32  # pixels
MAX_ENLARGE = 16.0  # 64 px become 1024
BACKGROUND = "white"
LARGEST = 1 << 28  # pixels an image; at 4 bytes each in memory, some copies at once
TEXT = 64 << 20  # bytes of a PNG's text, such as the workflow that made it
AT_ONCE = 1 << 26  # pixels of a resized image that is cropped afterwards; above, only the crop is made
ORIENTATION = 0x0112  # the tag of EXIF
# What is read, whatever its name says. Pillow hands others, such as PostScript, to programs of the machine.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA")
DEEP_GREY = ("PNG", "PPM")  # formats whose mode I is 16 bits; in others its range is not known

Crop = tuple[int, int, int, int]


class BadImage(UserError):
    """An image that cannot be encoded. The message names the file; kind: what is counted."""

    def __init__(self, said: str = "", kind: str = UNREADABLE):
        super().__init__(said)
        self.kind = kind


class Unfit(BadImage):
    """An image that is left out for its size, whatever becomes of bad ones."""


@dataclass(frozen=True)
class Reading:
    """How images are read. background: a colour of Pillow's; min_side: px; max_enlarge: times, into the bucket."""

    background: str = BACKGROUND
    min_side: int = MIN_SIDE
    max_enlarge: float = MAX_ENLARGE

    def require_sane(self) -> None:
        """Raise UserError for a colour that is none, or limits that nothing can keep."""
        from PIL import ImageColor

        try:
            opaque = len(ImageColor.getrgb(self.background)) == 3
        except ValueError:
            opaque = False
        if not opaque:
            raise UserError(f"BACKGROUND={self.background}: give an opaque colour, a name or #rrggbb, such as white")
        if self.min_side < 1:
            raise UserError(f"MIN_SIDE={self.min_side}: give 1 or more pixels")
        if not (math.isfinite(self.max_enlarge) and self.max_enlarge > 0):
            raise UserError(
                f"MAX_ENLARGE={self.max_enlarge}: give a number of times above 0, such as {MAX_ENLARGE:g}"
            )

    def require_fit(self, path: Path, size: Resolution, rule: Rule) -> None:
        """Raise Unfit for an image that is too small, or would be enlarged too far."""
        if min(size) < self.min_side:
            raise Unfit(f"{path} is {size[0]}x{size[1]} px, a side below MIN_SIDE={self.min_side}", SMALL)
        times = max(b / s for b, s in zip(rule.bucket(size), size, strict=True))
        if times > self.max_enlarge:
            raise Unfit(
                f"{path} is {size[0]}x{size[1]} px and would be enlarged {times:.1f} times, more than "
                f"MAX_ENLARGE={self.max_enlarge:g}",
                ENLARGED,
            )


@dataclass(frozen=True)
class Picture:
    """An image as it is encoded, RGB. background: what was seen through it; None: it is opaque.

    plain: neither turned, nor laid on anything, nor brought to 8 bits.
    """

    image: Any
    background: str | None
    plain: bool


def read(path: Path, background: str) -> Picture:
    """Read an image, whole. BadImage where it cannot be."""
    require_file(path)
    try:
        with warnings.catch_warnings(), pillow().open(path, formats=FORMATS) as opened:
            warnings.simplefilter("ignore")  # about what stands beside the pixels
            if opened.width * opened.height > LARGEST:
                raise BadImage(
                    f"{path} has {opened.width}x{opened.height} px, more than {LARGEST:,}; make it smaller"
                )
            opened.load()
            turn = turned(opened)
            flat, through = flattened(opened, background)
            plain = turn is None and not through and flat is opened
            image = flat.convert("RGB")
    except BadImage:
        raise
    except Exception as error:  # a damaged image raises whatever Pillow's decoders stumble over
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise BadImage(f"cannot read the image {path}: {reason}; repair it or take it out") from error
    return Picture(image if turn is None else image.transpose(turn), background if through else None, plain)


def require_file(path: Path) -> None:
    """Raise BadImage for what is no file: a pipe or a device would be waited for.

    UserError for what has gone: with its disk all images go, and none of them is bad.
    """
    try:
        kind = path.stat().st_mode
    except OSError as error:
        bad = os.path.islink(path) or error.errno == errno.EACCES
        said = f"cannot read {path}: {error.strerror}; restore it or leave it out"
        raise (BadImage if bad else UserError)(said) from error
    if not stat.S_ISREG(kind):
        raise BadImage(f"{path} is no file but a folder, a pipe or a device; take it out")


@cache
def pillow() -> Any:
    """Return Pillow's Image, which judges neither sizes nor texts: we do, and know a photograph from a bomb."""
    from PIL import Image, PngImagePlugin

    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = TEXT, 4 * TEXT
    return Image


def turned(image) -> Any:
    """Return how a loaded image is turned upright; None where it is, or where its EXIF data are damaged."""
    turns = pillow().Transpose
    by_orientation = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }
    try:
        return by_orientation.get(image.getexif().get(ORIENTATION))
    except Exception:  # the pixels are good; Pillow's parsers raise whatever they stumble over
        return None


def flattened(image, background: str) -> tuple[Any, bool]:
    """Return (the image with 8 bits a colour and nothing to be seen through, whether there was)."""
    if image.mode.startswith("I") or image.mode == "F":
        image = eight_bits(image)
    if not image.has_transparency_data:
        return image, False
    over = image.convert("RGBA")
    if over.getchannel("A").getextrema()[0] == 255:
        return image if image.mode != "RGBa" else over, False
    under = pillow().new("RGBA", image.size, background)
    under.alpha_composite(over)
    return under, True


def eight_bits(image) -> Any:
    """Return a grey image of 16 bits as one of 8, with what it says to be transparent. BadImage for other depths."""
    if not (image.mode.startswith("I;16") or (image.mode == "I" and image.format in DEEP_GREY)):
        raise BadImage(f"{image.filename} has {image.mode} pixels of 32 bits; save it with 8 or 16 bits a colour")
    grey = np.asarray(image)
    made = pillow().fromarray((grey >> 8).astype(np.uint8))
    through = image.info.get("transparency")
    if isinstance(through, int):
        made.putalpha(pillow().fromarray(np.where(grey == through, 0, 255).astype(np.uint8)))
    return made


def fitted(image, rule: Rule) -> tuple[np.ndarray, Crop]:
    """Resize to cover the bucket and crop to the centre: (float32 (1, 3, H, W) in [-1, 1], crop in the resized)."""
    bucket = rule.bucket(image.size)
    resized, crop = cover(image.size, bucket)
    # Averaging when shrinking and Lanczos when enlarging, the pair of filters that sd-scripts uses.
    filters = pillow().Resampling
    chosen = filters.BOX if resized[0] < image.width else filters.LANCZOS
    if math.prod(resized) > AT_ONCE:  # a thin image, of which a small part is seen
        seen = image
        for axis in (0, 1):
            seen = along(seen, axis, bucket[axis], (crop[axis], crop[axis + 2]), resized[axis], chosen)
    else:
        seen = image.resize(resized, chosen).crop(crop)
    pixels = np.asarray(seen, dtype=np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    return np.ascontiguousarray(pixels), crop


def along(image, axis: int, side: int, cut: tuple[int, int], whole: int, chosen) -> Any:
    """Resize one axis to `whole` pixels, of which only the cut is made, `side` long."""
    size, box = list(image.size), [0.0, 0.0, *map(float, image.size)]
    length, size[axis] = size[axis], side
    box[axis], box[axis + 2] = (min(float(length), edge * length / whole) for edge in cut)
    return image.resize(tuple(size), chosen, box=tuple(box))
