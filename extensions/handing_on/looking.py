"""Asks and draws with one blend after the other, by the reference trainer's models and a run's own texts."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from extensions import manager
from extensions.averages import blending
from extensions.averages.alike import Layout
from extensions.evaluation import asking, figures, gallery, objective, prompts, sampling, sets, texts
from extensions.evaluation.asking import Image
from extensions.evaluation.undisturbed import undisturbed
from extensions.flags.blend import factors
from extensions.launch import batch, processor
from extensions.launch.stages import Asked
from extensions.model import autoencoder
from extensions.model.checkpoint import Header
from extensions.model.cpu_products import ProductsInFloat32
from extensions.model.models import Models
from extensions.reference import calls, models
from extensions.reference.train import Training


class Looker:
    """Looks at the blends of two checkpoints as a run would. paths: of 0 and 1; out: the folder of the samples."""

    def __init__(self, asked: Asked, paths: Sequence[Path], laid: Layout, out: Path, prompts_of: Path | None):
        self.paths, self.laid, self.family = list(paths), laid, asked.settings.family
        self.args = batch.parsed(asked)
        manager.current().hook.check_arguments(args=self.args)
        manager.set_args(self.args)
        self.training = Training(self.args, self.family)
        self.training.models = Models(self.family, None)  # until the first blend is loaded
        self.held = held_of(self.training.dataset.metadata, self.args)
        self.asked = asking.name_of(self.held, self.args.validation_seed, self.args.validation_strata)
        self.prompts = prompts.read(prompts_of, self.family) if prompts_of else []
        self.gallery = gallery.Gallery(out, None, f"scan of {asked.run}", self.prompts)

    @property
    def count(self) -> int:
        """Images that are asked about."""
        return len(self.held)

    def look(self, ratio: float) -> np.ndarray:
        """Return each held-out image's error of x_0 with this blend, float64 (images,); its samples are drawn."""
        self.load(blending.reader(self.paths, factors(ratio, 2), self.laid))
        args, of = self.args, self.training
        asker = asking.Asker(
            of.models, of.dataset.token_ids, objective.of_args(args), args.validation_seed, args.validation_strata
        )
        with undisturbed(of.models), products(self.training):
            units = [(image, image.texts[texts.TEXT]) for image in self.held]
            found = asking.shared(units, asker, of.accelerator)
            self.draw(ratio)
        return figures.per_image(found[:, 1])

    def load(self, read) -> None:
        """Make the models of a blend, the ones before let go first: two would need twice the memory."""
        of = self.training
        del of.models
        gc.collect()  # models and the calls on them hold each other
        header = Header(self.paths[0], {name: shape for name, (shape, _) in self.laid.tensors.items()}, {})
        dtype = of.dtype if self.args.full_bf16 else torch.float32
        of.models = (models.sdxl if self.family == "sdxl" else models.sd2)(header, read, dtype).models
        for name, model in of.models.named().items():
            held = of.dtype if self.args.full_bf16 or name not in of.rates else None  # as in the training
            model.requires_grad_(False).eval().to(of.accelerator.device, held)
        of.models.calls = calls.calls_of(of)

    def draw(self, ratio: float) -> None:
        """Draw the prompts with the blend that is loaded, and write the images."""
        if not self.prompts:
            return
        of, args = self.training, self.args
        sampler = sampling.Sampler(of.models, of.dataset.token_ids, objective.of_args(args))
        decoder = autoencoder.read(str(getattr(args, "vae", None) or self.paths[0])).to(of.accelerator.device)
        for number, prompt in enumerate(self.prompts):
            pixels = gallery.pixels_of(sampler.latents(prompt), decoder, self.family)
            self.gallery.write(0, number, f"{ratio:g}", pixels)

    def finish(self, ratios: Sequence[float]) -> None:
        """Put the samples together: a row a prompt, a column a ratio."""
        if self.prompts:
            print(f"samples: {self.gallery.grid(0, [f'{ratio:g}' for ratio in ratios])}", flush=True)


def held_of(index, args) -> list[Image]:
    """Return the held-out images that the run's evaluations ask about."""
    rows = sets.of_own(index, args) if args.validation_json else sets.of_share(index, args)
    return sets.images(rows.index, rows.folder, rows.held[: args.validation_images], args)


@contextmanager
def products(training: Training) -> Iterator[None]:
    """Compute bf16 as the run did, on a processor without its units."""
    on_cpu = training.accelerator.device.type == "cpu"
    if on_cpu and training.dtype == torch.bfloat16 and not processor.has_bf16():
        with ProductsInFloat32():
            yield
    else:
        yield
