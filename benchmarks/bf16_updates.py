"""How far bf16 weights move as fp32's do: the stand-in's U-Net at the logbook's learning rate.

    .venv/bin/python -m benchmarks.bf16_updates [--steps 300] [--rate 1.5e-6] [--optimizers AdamW8bit,Lion]

One plain loop (noise prediction on random latents and text states, all drawn from the step's number), run in fp32,
and in full bf16 with each way of rounding; the total update of all weights is then compared with fp32's:
cosine, length, share of fp32's update along its own direction (1: right in the mean), share of elements that moved.
`fp32, rounded` is fp32's result rounded to bf16 once at the end: as near as bf16 weights can come.
"""

import argparse
from collections.abc import Callable
from types import SimpleNamespace

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from extensions.launch import tiny
from extensions.model.cpu_products import ProductsInFloat32
from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers.updates import REMAINDER, Updates
from extensions.reference import models, optimizers

WAYS = ("fp32", "kahan", "stochastic", "nearest")


def loss_of(unet, step: int, dtype: torch.dtype) -> torch.Tensor:
    """Noise prediction on one batch that the step's number decides."""
    source = torch.Generator().manual_seed(step)
    states, pooled = unet.config.cross_attention_dim, unet.config.projection_class_embeddings_input_dim - 6 * 256
    latents, noise = torch.randn(2, 2, 4, 8, 8, generator=source)
    timesteps = torch.randint(0, 1000, (2,), generator=source)
    share = 1 - timesteps.view(2, 1, 1, 1) / 1000
    condition = torch.randn(2, 77, states, generator=source).to(dtype)
    added = {"text_embeds": torch.randn(2, pooled, generator=source).to(dtype), "time_ids": torch.full((2, 6), 64.0)}
    noisy = (latents * share.sqrt() + noise * (1 - share).sqrt()).to(dtype)
    predicted = unet(noisy, timesteps, encoder_hidden_states=condition, added_cond_kwargs=added).sample
    return functional.mse_loss(predicted.float(), noise)


def trained(how: str, name: str, rate: float, steps: int) -> dict[str, list[torch.Tensor]]:
    """{"weights": …} after so many steps of the stand-in, "start": before; kahan: "sum", with the remainders, too."""
    unet = models.load(str(tiny.standins()["sdxl"]), "sdxl", torch.bfloat16).models.unet
    return stepped(unet, how, name, rate, steps, loss_of)


def stepped(unet, how: str, name: str, rate: float, steps: int, loss_of: Callable) -> dict[str, list[torch.Tensor]]:
    """The same of a U-Net. loss_of: (U-Net, step from 0, dtype) to the loss that is minimised."""
    dtype = torch.float32 if how == "fp32" else torch.bfloat16
    unet = unet.to(dtype).train()
    start = [parameter.detach().float().clone() for parameter in unet.parameters()]
    made = optimizers.class_of(name)(list(unet.parameters()), lr=rate)
    counter = SimpleNamespace(done=0)
    if how in ("stochastic", "kahan"):
        Updates(made, how == "kahan", 0, lambda: counter.done)
    with ProductsInFloat32():
        for counter.done in range(steps):
            loss_of(unet, counter.done, dtype).backward()
            made.step()
            made.zero_grad(set_to_none=True)
    left = {"start": start, "weights": [parameter.detach().float() for parameter in unet.parameters()]}
    if how == "kahan":
        rests = [made.state[parameter][REMAINDER].float() for parameter in unet.parameters()]
        left["sum"] = [a + b for a, b in zip(left["weights"], rests, strict=True)]
    return left


def flat(tensors: list[torch.Tensor], start: list[torch.Tensor]) -> torch.Tensor:
    """The total update, as one vector in fp64."""
    return torch.cat([(a.double() - b.double()).flatten() for a, b in zip(tensors, start, strict=True)])


def compared(moved: torch.Tensor, expected: torch.Tensor) -> list[str]:
    """Cosine, length ratio, ratio along fp32's direction, share of elements that moved."""
    along = (moved @ expected / (expected @ expected)).item()
    length = (moved.norm() / expected.norm()).item()
    cosine = along / length if length else 0.0
    return [f"{cosine:.3f}", f"{length:.2f}", f"{along:.3f}", f"{100 * (moved != 0).double().mean().item():.1f} %"]


def rows(name: str, rate: float, steps: int):
    """(label, cells) of each way."""
    left = {how: trained(how, name, rate, steps) for how in WAYS}
    start, high = left["fp32"]["start"], left["fp32"]["weights"]
    expected = flat(high, start)
    yield "fp32, rounded", compared(flat([w.bfloat16() for w in high], start), expected)
    yield "kahan, with remainder", compared(flat(left["kahan"]["sum"], start), expected)
    for how in WAYS[1:]:
        yield how, compared(flat(left[how]["weights"], start), expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=1.5e-6)
    parser.add_argument("--optimizers", default="AdamW8bit")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("optimizer", "weights", "cosine", "length", "along fp32's", "elements moved")
    for name in asked.optimizers.split(","):
        for label, cells in rows(optimizer_facts.of_flag(name).flag, asked.rate, asked.steps):
            table.add_row(name, label, *cells)
    Console().print(f"{asked.steps} optimizer steps at {asked.rate:g}, compared with fp32's total update")
    Console().print(table)


if __name__ == "__main__":
    main()
