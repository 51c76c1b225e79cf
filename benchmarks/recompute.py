"""What recomputing costs a micro-step of the U-Net: nothing, half of it, all of it, and the trainer's own way.

    .venv/bin/python -m benchmarks.recompute [--size tiny|mid] [--trainer reference] [--rounds 7] [--side 256]

Forward and backward pass of a trainer's U-Net with random weights in float32, in this process with one thread,
71 % of it trained, on one image. `tiny` has the stand-in's widths, `mid` three times as many channels. `half` keeps
half of the bytes that can be kept. Who goes first changes every round, and only ratios within a round are compared.
"""

import argparse
import statistics
import sys
import time
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds the package, too
import torch
from diffusers import UNet2DConditionModel
from rich.console import Console
from rich.table import Table

from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of
from extensions.launch.stages import REFERENCE, SD_SCRIPTS, TRAINERS
from extensions.model import checkpointed, recomputation
from extensions.model.checkpoint import UNET as PREFIX
from extensions.model.checkpoint import Header
from extensions.model.models import Models
from extensions.model.pieces import LATENT, Pass
from extensions.model.recomputation import ALL, NONE, UNET, UPSTREAM, budget_of
from extensions.model.shapes import prefixed
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.model.unet_blocks import choose_frozen
from extensions.model.unet_names import ldm_of_diffusers
from extensions.reference.models import sdxl_unet_config
from extensions.reference.recompute import recompute
from extensions.standins import model_sdxl
from extensions.upstream import shapes, tree

CHANNELS = {"tiny": 32, "mid": 96}
TOKENS, CONTEXT, PERCENT = 77, 128, 71.0
WAYS = (NONE, "half", ALL, UPSTREAM)
POOLED = 1280 + 6 * 256


def header_of(size: str) -> Header:
    """Shapes of a checkpoint with a U-Net of this size, the rest the stand-in's."""
    unet = UNetSize(CHANNELS[size], (1, 2, 4), (0, 1, 2), 2, context=CONTEXT, vector=POOLED)
    return Header(Path(size), model_sdxl.sdxl_shapes() | prefixed(PREFIX, unet_shapes(unet)), {})


def models_of(trainer: str, size: str) -> Models:
    """A trainer's U-Net, frozen in part as run 25022601's."""
    header = header_of(size)
    if trainer == REFERENCE:
        unet = UNet2DConditionModel(**sdxl_unet_config(header))
        made = Models("sdxl", unet, unet_names=ldm_of_diffusers(header.shapes))
    else:
        sys.path.insert(0, str(tree.ensure()))
        from library import sdxl_original_unet

        with shapes.sized_for_sdxl(header):
            unet = sdxl_original_unet.SdxlUNet2DConditionModel()
        unet.set_use_sdpa(True)
        made = Models("sdxl", unet)
    sizes = {name: prod(p.shape) for name, p in made.unet_parameters().items()}
    frozen = tuple(f"{block}." for block in choose_frozen(sizes, PERCENT, "sdxl"))
    for name, parameter in made.unet_parameters().items():
        parameter.requires_grad_(not name.startswith(frozen))
    unet.train()
    return made


def prepared(trainer: str, size: str, way: str, side: int) -> Models:
    """The same with one way to recompute."""
    torch.manual_seed(0)
    models = models_of(trainer, size)
    if way == UPSTREAM:
        recompute(models.unet, []) if trainer == REFERENCE else models.unet.enable_gradient_checkpointing()
        return models
    one = Pass(side, side, tokens=TOKENS, number=4)
    found = {UNET: checkpointed.shapes_of(models)[UNET]}
    units = recomputation.units_of(found, checkpointed.trained_of(models), one)
    budget = sum(unit.bytes for unit in units) / 2 if way == "half" else budget_of(way)
    choice = recomputation.choose(units, budget, recomputation.forward_flops(found, one))
    checkpointed.recompute(checkpointed.wrap(models, units), choice.recomputed)
    print(f"{way}: {choice.text()}", file=sys.stderr, flush=True)
    return models


def seconds(models: Models, side: int) -> float:
    """One micro-step."""
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(1, 4, side // LATENT, side // LATENT, generator=generator)
    text = torch.randn(1, TOKENS, CONTEXT, generator=generator, requires_grad=True)
    time_ids, pooled = torch.ones(1, 6), torch.randn(1, 1280, generator=generator)
    began = time.perf_counter()
    if models.unet_names is None:
        vector = torch.cat([pooled, torch.zeros(1, 6 * 256)], 1)
        out = models.unet(noisy, torch.tensor([500]), text, vector)
    else:
        added = {"text_embeds": pooled, "time_ids": time_ids}
        out = models.unet(noisy, torch.tensor([500]), encoder_hidden_states=text, added_cond_kwargs=added).sample
    out.square().mean().backward()
    return time.perf_counter() - began


def main(arguments: list[str]) -> int:
    """Measure and print. The figures are no test: the exit code does not depend on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=CHANNELS, default="mid")
    parser.add_argument("--trainer", choices=TRAINERS, default=SD_SCRIPTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=256, help="pixels of the square image, a multiple of 32")
    asked = parser.parse_args(arguments)
    if asked.rounds < 1:
        raise UserError(f"--rounds={asked.rounds}: give 1 or more")
    if asked.side < 32 or asked.side % 32:
        raise UserError(f"--side={asked.side}: give a multiple of 32 pixels")
    torch.set_num_threads(1)
    models = {way: prepared(asked.trainer, asked.size, way, asked.side) for way in WAYS}
    found = []
    for number in range(asked.rounds + 1):  # the first one warms up
        order = WAYS if number % 2 else WAYS[::-1]
        found.append({way: seconds(models[way], asked.side) for way in order})
        print(f"round {number} of {asked.rounds}", file=sys.stderr, flush=True)
    table = Table(
        "recomputed", "s a micro-step", "over all (least to greatest)", title=f"{asked.trainer}, {asked.size}"
    )
    for way in WAYS:
        ratios = sorted(each[way] / each[ALL] for each in found[1:])
        middle = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        table.add_row(way, f"{statistics.median(each[way] for each in found[1:]):.2f}", middle)
    Console(width=100).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
