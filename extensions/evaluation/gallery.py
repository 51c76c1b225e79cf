"""Keeps the images that a run draws: a folder an optimizer step, and a grid of them.

<output>/samples/step00002000/01-raw.png     each image, with the parameters that A1111 reads back
<run folder>/samples/step00002000.png        the grid: a row a prompt; columns: before the training, now, averages
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extensions.base.saving import replacing
from extensions.evaluation import pictures
from extensions.evaluation.prompts import Prompt
from extensions.model import autoencoder
from extensions.model.diffusion import LATENT_SCALE

if TYPE_CHECKING:
    import torch

FOLDER = "samples"
BASE, RAW = "base", "raw"  # before the first optimizer step, and the weights as they are


def step_name(optimizer_steps: int) -> str:
    """Return the name of a step's folder and grid."""
    return f"step{optimizer_steps:08d}"


class Gallery:
    """Writes the images of a run. folder: of the checkpoints; run_folder: of the launch, or None."""

    def __init__(self, folder: Path, run_folder: Path | None, model: str, prompts: Sequence[Prompt]):
        self.folder, self.run_folder, self.model, self.prompts = folder / FOLDER, run_folder, model, prompts

    def path(self, optimizer_steps: int, number: int, column: str) -> Path:
        """Return where an image stands. number: of its prompt, from 0."""
        return self.folder / step_name(optimizer_steps) / f"{number + 1:02d}-{column}.png"

    def write(self, optimizer_steps: int, number: int, column: str, pixels: np.ndarray) -> None:
        """Write one image with its parameters."""
        prompt = self.prompts[number]
        more = {} if column == RAW else {"Weights": column}
        said = pictures.parameters(prompt, f"{self.model} at {optimizer_steps}", more)
        path = self.path(optimizer_steps, number, column)
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.write(path, pixels, said)

    def first(self) -> int | None:
        """Return the first optimizer step with images, to be compared with; None without any."""
        found = sorted(path.name for path in self.folder.glob("step*") if path.is_dir())
        return int(found[0].removeprefix("step")) if found and found[0].removeprefix("step").isdigit() else None

    def grid(self, optimizer_steps: int, columns: Sequence[str]) -> Path:
        """Put the step's images together, and those of the first step before them. Returns the grid's path."""
        first = self.first()
        rows = []
        for number in range(len(self.prompts)):
            row = [self.path(optimizer_steps, number, column) for column in columns]
            if first is not None and first < optimizer_steps:
                row.insert(0, self.path(first, number, RAW))
            rows.append([path if path.is_file() else None for path in row])
        target = (self.run_folder / FOLDER if self.run_folder else self.folder) / f"{step_name(optimizer_steps)}.png"
        made = pictures.grid(rows)
        with replacing(target, durable=False) as temporary:
            made.save(temporary)
        return target


def pixels_of(latents: torch.Tensor, model, family: str) -> np.ndarray:
    """Decode scaled latents. model: an autoencoder of `model/autoencoder.py`. uint8 (H, W, 3)."""
    return autoencoder.decode(model, latents / LATENT_SCALE[family])
