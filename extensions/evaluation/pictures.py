"""Writes drawn images: PNG with the parameters that A1111 reads back, and grids of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from extensions.base.saving import replacing
from extensions.evaluation.prompts import Prompt

GAP = 4  # pixels between the images of a grid
CELL = 512  # pixels, the longest side of an image in a grid
BACKGROUND = (128, 128, 128)


def parameters(prompt: Prompt, model: str, more: Mapping[str, object] = {}) -> str:
    """Return the text that A1111's web UI writes into its images, and its "PNG Info" reads back."""
    lines = [prompt.text]
    if prompt.negative:
        lines.append(f"Negative prompt: {prompt.negative}")
    facts = {
        "Steps": prompt.steps, "Sampler": "Euler", "CFG scale": f"{prompt.guidance:g}", "Seed": prompt.seed,
        "Size": f"{prompt.width}x{prompt.height}", "Model": model, **more,
    }  # fmt: skip
    lines.append(", ".join(f"{name}: {quoted(value)}" for name, value in facts.items()))
    return "\n".join(lines)


def quoted(value: object) -> str:
    """Return a value of the last line; in quotes where it would be cut at a comma, a colon or a line's end."""
    text = str(value)
    if not any(mark in text for mark in ",:\n"):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def write(path: Path, pixels: np.ndarray, said: str) -> None:
    """Write an image, uint8 (H, W, 3), with its parameters."""
    info = PngInfo()
    if said.isascii() or _latin(said):
        info.add_text("parameters", said)
    else:
        info.add_itxt("parameters", said)
    with replacing(path, durable=False) as temporary:
        Image.fromarray(pixels).save(temporary, pnginfo=info)


def grid(rows: Sequence[Sequence[Path | None]]) -> Image.Image:
    """Return images in rows, each shrunk to fit a cell of CELL pixels; a missing one leaves its cell empty."""
    loaded = [[Image.open(path).convert("RGB") if path else None for path in row] for row in rows]
    for row in loaded:
        for image in row:
            if image is not None:
                image.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    every = [image for row in loaded for image in row if image is not None]
    width = max((image.width for image in every), default=CELL) + GAP
    height = max((image.height for image in every), default=CELL) + GAP
    made = Image.new("RGB", (width * max(map(len, loaded)) + GAP, height * len(loaded) + GAP), BACKGROUND)
    for y, row in enumerate(loaded):
        for x, image in enumerate(row):
            if image is not None:
                made.paste(image, (x * width + GAP, y * height + GAP))
    return made


def _latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeError:
        return False
    return True
