"""Asks a model about images: the error of its predictions in each stratum of noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from extensions.evaluation import strata
from extensions.evaluation.objective import Objective
from extensions.model.diffusion import LATENT_SCALE

if TYPE_CHECKING:
    import torch

    from extensions.data.latents import Latents
    from extensions.data.metadata import Sample
    from extensions.model.models import Models


@dataclass(frozen=True)
class Image:
    """An image that a model is asked about, and its texts by column."""

    sample: Sample
    latents: Latents
    texts: dict[str, str]


class Asker:
    """Asks one question after the other, one image a forward pass.

    tokenize(texts): int64 (b, chunks, 77) a text encoder. seed: of noise and timesteps. count: of strata.
    """

    def __init__(self, models: Models, tokenize, objective: Objective, seed: int, count: int):
        self.models, self.tokenize, self.objective = models, tokenize, objective
        self.seed, self.count = seed, count
        self.ids: dict[str, list[torch.Tensor]] = {}  # a plugin counts the texts that it cuts: each once

    def ask(self, image: Image, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (the objective's loss, the error of x_0), each float64 (strata,). For `undisturbed`."""
        import torch

        assert self.models.calls is not None  # the training has begun
        if text not in self.ids:
            self.ids[text] = self.tokenize([text])
        encoded = self.models.calls.encode(self.ids[text])
        clean = torch.from_numpy(image.latents.latents)[None] * LATENT_SCALE[self.models.family]
        points = [strata.point(self.seed, image.sample.key, number, self.count) for number in range(self.count)]
        timesteps = self.objective.timesteps_at(points)
        losses = [self.loss(image, clean, number, timesteps[number], encoded) for number in range(self.count)]
        return np.array(losses), np.array(self.objective.x0_errors(losses, timesteps))

    def loss(self, image: Image, clean: torch.Tensor, stratum: int, timestep: torch.Tensor, encoded) -> float:
        """Return the mean squared error of one prediction, summed in float64."""
        a, b = self.objective.scales(timestep)
        noise = strata.noise(self.seed, image.sample.key, stratum, tuple(clean.shape))
        target = self.objective.target(clean, noise, timestep)
        assert self.models.calls is not None
        device = encoded[0].device
        predicted = self.models.calls.predict(
            (a * clean + b * noise).to(device),
            timestep[None].to(device),
            encoded,
            sizes_of(image, self.models.family),
        )
        return (predicted.double().cpu() - target.double()).square().mean().item()


def sizes_of(image: Image, family: str) -> torch.Tensor | None:
    """Return SDXL's sizes, int64 (1, 6): original height and width, crop's top and left, target height and width."""
    import torch

    if family != "sdxl":
        return None
    original, crop, sample = image.latents.original_size, image.latents.crop, image.sample
    return torch.tensor([[*original[::-1], *crop[::-1], sample.height, sample.width]])


def shared(units: Sequence[tuple[Image, str]], asker: Asker, accelerator) -> np.ndarray:
    """Ask all units, shared over the processes. Returns float64 (units, 2, strata): loss and error, on every process.

    Each unit is computed whole on one process, and the others add zeros: the numbers are those of one process.
    """
    import torch

    found = torch.zeros(len(units), 2, asker.count, dtype=torch.float64)
    for number in range(accelerator.process_index, len(units), accelerator.num_processes):
        found[number] = torch.from_numpy(np.stack(asker.ask(*units[number])))
    return accelerator.reduce(found.to(accelerator.device), "sum").cpu().numpy()


def stacked(answers: dict, images: list[Image], column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (losses, errors) of these images in a column, each float64 (images, strata).

    answers: {(id of the image, text): (2, strata)}.
    """
    found = np.stack([answers[id(image), image.texts[column]] for image in images])
    return found[:, 0], found[:, 1]


def name_of(images: list[Image], seed: int, count: int) -> str:
    """Return what tells these questions from others: the images, their texts, the noise."""
    words = [f"{seed}:{count}"]
    for image in images:
        words += [image.sample.key, *image.texts.values()]
    return xxhash.xxh3_128_hexdigest("\0".join(words).encode())
