"""Loads the autoencoder of a checkpoint, encodes images with it and decodes latents."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extensions.base.errors import UserError
from extensions.model import published
from extensions.model.checkpoint import VAE, read_header
from extensions.model.sizes import vae_config

if TYPE_CHECKING:
    import torch


def read(checkpoint: str):
    """diffusers' AutoencoderKL in float32, on the CPU; its widths are read from the checkpoint's shapes.

    UserError for a file that is no checkpoint, or holds no autoencoder.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
    from diffusers.models import AutoencoderKL

    header = read_header(checkpoint)
    published.check_vae(header)
    model = AutoencoderKL(**vae_config(header))
    model.load_state_dict(convert_ldm_vae_checkpoint(weights(checkpoint), model.config))
    return model.eval()


@lru_cache(maxsize=2)
def load(checkpoint: str):
    """Read it once, for a process that goes on using it."""
    return read(checkpoint)


def weights(checkpoint: str | Path) -> dict[str, torch.Tensor]:
    """Return the autoencoder's tensors by their names in the file, in float32."""
    from safetensors import safe_open

    header = read_header(checkpoint)
    names = [name for name in header.shapes if name.startswith(VAE)]
    if not names:
        raise UserError(f"{checkpoint} holds no autoencoder ({VAE}*); give a whole checkpoint")
    published.check_vae(header)
    with safe_open(checkpoint, framework="pt") as file:
        return {name: file.get_tensor(name).float() for name in names}


def digest(checkpoint: str | Path) -> str:
    """Of the autoencoder's weights, whatever else the file holds: 16 hexadecimal digits."""
    import xxhash

    found = xxhash.xxh3_64()
    for name, tensor in sorted(weights(checkpoint).items()):
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def encode(model, pixels: np.ndarray) -> np.ndarray:
    """float32 (1, 3, H, W) in [-1, 1] to latents float32 (1, 4, H/8, W/8): the mode, no random draw."""
    import torch

    with torch.inference_mode():
        inputs = torch.from_numpy(pixels).to(next(model.parameters()).device)
        return model.encode(inputs).latent_dist.mode().float().cpu().numpy()


def decode(model, latents: torch.Tensor) -> np.ndarray:
    """Latents (1, 4, h/8, w/8), not scaled, to pixels uint8 (H, W, 3); in the model's dtype, on its device."""
    import torch

    weight = next(model.parameters())
    with torch.inference_mode():
        pixels = model.decode(latents.to(weight.device, weight.dtype)).sample[0]
    return ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
