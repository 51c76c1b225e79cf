"""Shows what the rows of `make proof` draw beside the pictures that they learned.

The base's autoencoder is a random one that decodes nothing a person could see. So latents, the targets' too, are
shown through the linear map, four channels to three colours, that gives back the eight pictures best (least squares).
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from tests.proofs.drawn import Drawn
from tests.proofs.pictures import EQUAL_AT_FIRST, LONG, PICTURES, SIDE, Prepared

SMALL = SIDE // 8


def colours_of(ready: Prepared) -> np.ndarray:
    """Return the map, float64 (5, 3): four channels and a constant to red, green and blue in 0 to 1."""
    seen = [Image.open(path).resize((SMALL, SMALL), Image.Resampling.BOX) for path in ready.pictures]
    wanted = np.stack([np.asarray(picture, np.float64) / 255 for picture in seen]).reshape(-1, 3)
    return np.linalg.lstsq(with_constant(ready.targets).reshape(-1, 5), wanted, rcond=None)[0]


def with_constant(latents: torch.Tensor) -> np.ndarray:
    """Return latents (…, 4, h, w) as float64 (…, h, w, 5), the fifth of them 1."""
    moved = np.moveaxis(latents.double().numpy(), -3, -1)
    return np.concatenate([moved, np.ones((*moved.shape[:-1], 1))], -1)


def write(path, ready: Prepared, rows: dict[str, Drawn]) -> None:
    """Write a PNG, a column a text: photographs, their latents, and the mean of each row's draws from all seeds."""
    colours = colours_of(ready)
    lines = {"photograph": [np.asarray(Image.open(picture)) for picture in ready.pictures]}
    shown = {"its latents": ready.targets} | {name: found.latents.mean(1) for name, found in rows.items()}
    lines |= {name: list((with_constant(latents) @ colours).clip(0, 1)) for name, latents in shown.items()}
    figure, axes = plt.subplots(len(lines), len(PICTURES), figsize=(12, 1.55 * len(lines)), layout="constrained")
    for line, (name, images) in zip(axes, lines.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name.replace(": ", ":\n"), rotation=0, ha="right", va="center", fontsize=8, wrap=True)
    for number, axis in enumerate(axes[0]):
        axis.set_title(heading(number), fontsize=7)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def heading(number: int) -> str:
    """Return what is shown of a picture's text."""
    picture = PICTURES[number]
    if number in EQUAL_AT_FIRST:
        return f"75 tokens and more,\n…{picture.caption.removeprefix(LONG)}"
    return textwrap.fill(picture.caption or f"(no caption) {picture.tags}", 24)
