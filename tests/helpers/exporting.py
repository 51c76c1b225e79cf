"""Checkpoints of small models that learn to be exported: every weight random, a run's metadata, published sizes."""

import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from extensions.handing_on.export import Wish
from extensions.model.shapes import prefixed
from extensions.model.shapes_text import clip_shapes, open_clip_shapes
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.model.shapes_vae import vae_shapes

FACTS = {
    "sdxl_trainer.run": "25022601",
    "sdxl_trainer.started": "2026-03-01T10:00:00+00:00",
    "sdxl_trainer.optimizer_steps": "3890",
    "modelspec.title": "Checkpoint@1795000000.0",
    "modelspec.prediction_type": "epsilon",
    "modelspec.date": "2026-03-01T10:00:00",
}


def checkpoint(standins, family: str, path: Path, metadata: dict | None = None, marks=(), **changed) -> Path:
    """A stand-in of which no two tensors are alike. changed: tensors that are other; None: without it."""
    draw = torch.Generator().manual_seed(5)
    tensors = {
        name: tensor.float() + 0.02 * torch.randn(tensor.shape, generator=draw)
        for name, tensor in load_file(standins[family]).items()
        if tensor.is_floating_point()
    }
    tensors |= {mark: torch.empty(0) for mark in marks}
    tensors = {name: tensor for name, tensor in (tensors | changed).items() if tensor is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, FACTS if metadata is None else metadata)
    return path


def wish(checkpoint: Path | str = "", run: str = "", **more) -> Wish:
    """What is asked for, of a file, in float32 without the comparison; `more` says what is other."""
    given = {"format": "safetensors", "dtype": "fp32", "ema": "", "out": None, "verify": False} | more
    return Wish(run=run, checkpoint=str(checkpoint), **given)


def apart(path: Path, metadata: dict | None = None, marks=()) -> Path:
    """A small SDXL whose text encoders differ in width, as the published ones do: diffusers tells them by it."""
    size = UNetSize(32, (1, 2, 4), (0, 1, 2), 2, context=192, vector=128 + 1536)
    shapes = {
        **prefixed("model.diffusion_model.", unet_shapes(size)),
        **prefixed("conditioner.embedders.0.transformer.", clip_shapes(64, 3)),
        **prefixed("conditioner.embedders.1.model.", open_clip_shapes(128, 3, 128)),
        **prefixed("first_stage_model.", vae_shapes(32)),
    }
    draw = torch.Generator().manual_seed(7)
    tensors = {
        name: torch.randn(shape, generator=draw) * math.prod(shape[1:]) ** -0.5 for name, shape in shapes.items()
    }
    save_file(tensors | {mark: torch.empty(0) for mark in marks}, path, FACTS if metadata is None else metadata)
    return path
