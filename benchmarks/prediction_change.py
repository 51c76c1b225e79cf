"""From noise to v in full bf16 at 1.5e-6, as run 25111001 of the log did it: how far does it come?

    .venv/bin/python -m benchmarks.prediction_change [--steps 1000] [--rate 1.5e-6] [--optimizer AdamW8bit]

The stand-in's U-Net learns to predict the noise of 64 fixed latents, in fp32 (`--before` steps). From its weights,
rounded to bf16, it is then trained to predict v with zero terminal SNR, on the same batches: in fp32, and in full
bf16 with each way of rounding. Compared with fp32's total update: cosine, share along it, elements that moved. And
what the U-Net then predicts: its place on the way from the noise (0) to v (1) at three levels of noise, and v's loss.
"""

import argparse
import copy
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from rich.console import Console
from rich.table import Table
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds the package, too
from benchmarks.bf16_updates import compared, flat, stepped
from extensions.launch import tiny
from extensions.reference import models

WAYS = ("fp32", "kahan", "stochastic", "nearest")
IMAGES, BATCH, SIDE = 64, 4, 8
LEVELS = (250, 500, 900)  # timesteps at which the prediction is placed
FIRST_RATE = 1e-3  # of the training before: the stand-in begins at random weights


def shares(zero_snr: bool) -> torch.Tensor:
    """alphas_cumprod of SDXL's schedule, float32 (1000,), by diffusers; zero_snr: rescaled to end at 0."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=zero_snr
    ).alphas_cumprod


@dataclass
class Images:
    """Fixed latents (64, 4, 8, 8), smooth and of variance 1, each with a text of its own: states and pooled."""

    latents: torch.Tensor
    states: torch.Tensor
    pooled: torch.Tensor

    @classmethod
    def drawn(cls, unet) -> "Images":
        source = torch.Generator().manual_seed(0)
        rough = torch.randn(IMAGES, 4, 3, 3, generator=source)
        latents = functional.interpolate(rough, SIDE, mode="bilinear", align_corners=True)
        width, pooled = unet.config.cross_attention_dim, unet.config.projection_class_embeddings_input_dim - 6 * 256
        return cls(
            latents / latents.std(),
            torch.randn(IMAGES, 77, width, generator=source),
            torch.randn(IMAGES, pooled, generator=source),
        )

    def predicted(self, unet, numbers, noise, timesteps, schedule, dtype) -> tuple[torch.Tensor, ...]:
        """(prediction, noise, v) of these images at these timesteps, float32."""
        share = schedule[timesteps].view(-1, 1, 1, 1)
        clean = self.latents[numbers]
        noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
        added = {"text_embeds": self.pooled[numbers].to(dtype), "time_ids": torch.full((len(numbers), 6), 64.0)}
        said = unet(noisy.to(dtype), timesteps, self.states[numbers].to(dtype), added_cond_kwargs=added).sample
        return said.float(), noise, share.sqrt() * noise - (1 - share).sqrt() * clean


def loss_towards(images: Images, v: bool):
    """The loss of a batch that the step's number decides: of v to zero terminal SNR, or of the noise."""
    schedule = shares(zero_snr=v)

    def loss_of(unet, step: int, dtype: torch.dtype) -> torch.Tensor:
        source = torch.Generator().manual_seed(step)
        numbers = torch.randint(IMAGES, (BATCH,), generator=source)
        noise = torch.randn(BATCH, 4, SIDE, SIDE, generator=source)
        timesteps = torch.randint(1000, (BATCH,), generator=source)
        said, noise, velocity = images.predicted(unet, numbers, noise, timesteps, schedule, dtype)
        return functional.mse_loss(said, velocity if v else noise)

    return loss_of


@torch.no_grad()
def placed(unet, images: Images) -> list[str]:
    """Where predictions lie from the noise, 0, to v, 1, at LEVELS; and the mean loss of v there."""
    everything = torch.arange(IMAGES)
    noise = torch.randn(IMAGES, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(-1))
    cells, losses = [], []
    for level in LEVELS:
        timesteps = torch.full((IMAGES,), level)
        said, noise, v = images.predicted(unet, everything, noise, timesteps, shares(True), torch.float32)
        way = v - noise
        cells.append(f"{((said - noise) * way).sum() / way.square().sum():.3f}")
        losses.append(functional.mse_loss(said, v).item())
    return [*cells, f"{sum(losses) / len(losses):.4f}"]


def rows(name: str, rate: float, before: int, steps: int):
    """(label, cells) of the beginning and of each way."""
    unet = models.load(str(tiny.standins()["sdxl"]), "sdxl", torch.float32).models.unet
    images = Images.drawn(unet)
    stepped(unet, "fp32", "AdamW", FIRST_RATE, before, loss_towards(images, v=False))
    unet = unet.bfloat16()
    yield "before", ["", "", "", *placed(copy.deepcopy(unet).float(), images)]
    expected = None
    for how in WAYS:
        trained = copy.deepcopy(unet)
        left = stepped(trained, how, name, rate, steps, loss_towards(images, v=True))
        moved = flat(left["weights"], left["start"])
        expected = moved if expected is None else expected
        cosine, _, along, elements = compared(moved, expected)
        yield how, [cosine, along, elements, *placed(trained.float(), images)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1.5e-6)
    parser.add_argument("--optimizer", default="AdamW8bit")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    places = [f"noise 0, v 1 at {level}" for level in LEVELS]
    table = Table("updates", "cosine", "along fp32's", "elements moved", *places, "loss of v")
    for label, cells in rows(asked.optimizer, asked.rate, asked.before, asked.steps):
        table.add_row(label, *cells)
    console = Console(width=140)
    console.print(
        f"{asked.steps} optimizer steps of v at {asked.rate:g} ({asked.optimizer}), from {asked.before} of noise"
    )
    console.print(table)


if __name__ == "__main__":
    main()
