"""The inputs of benchmarks.full_size: SDXL's single file with random weights, latents and texts."""

import json
import math
import zlib
from pathlib import Path

import numpy as np

from extensions.model import full_size
from extensions.model.shapes import Shapes, prefixed
from extensions.model.shapes_text import POSITIONS, clip_shapes, open_clip_shapes
from extensions.model.shapes_unet import unet_shapes
from extensions.model.shapes_vae import vae_shapes
from extensions.standins import model_sdxl, recipe
from extensions.standins.weights import by_suffix
from extensions.text.tokenizers import ensure_tokenizers

IMAGES = 24
SIDE = {True: 128, False: 1024}  # pixels of a square image; True: tiny


def make(work: Path, tiny: bool) -> None:
    """Everything below `work`: base.safetensors, data/, tokenizers/ (unless they were brought along)."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "tokenizers").exists():
        ensure_tokenizers(work / "tokenizers")
    make_base(work / "base.safetensors", tiny)
    make_data(work / "data", tiny)


def shapes(tiny: bool) -> Shapes:
    """Keys and shapes of SDXL's single file; tiny: the stand-in's."""
    if tiny:
        return model_sdxl.sdxl_shapes()
    return {
        **prefixed("model.diffusion_model.", unet_shapes(full_size.SDXL_UNET)),
        **prefixed("conditioner.embedders.0.transformer.", clip_shapes(768, 12)),
        **prefixed("conditioner.embedders.1.model.", open_clip_shapes(1280, 32, 1280)),
        **prefixed("first_stage_model.", vae_shapes(128)),
    }


def make_base(path: Path, tiny: bool) -> None:
    """Write the base model in fp16, each tensor drawn from a seed of its own, on the GPU where there is one."""
    import torch
    from safetensors.torch import save_file

    device = "cuda" if torch.cuda.is_available() else "cpu"
    channels = (model_sdxl.UNET if tiny else full_size.SDXL_UNET).channels
    scale = by_suffix({**recipe.unet_scales(channels, model_sdxl.OUT_NORM), **recipe.TEXT, **recipe.VAE})
    tensors = {}
    for name, shape in shapes(tiny).items():
        if len(shape) < 2:
            tensors[name] = torch.full(shape, 0.0 if name.endswith("bias") else scale(name), dtype=torch.float16)
            continue
        draws = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
        drawn = torch.randn(shape, generator=draws, device=device) * (scale(name) / math.sqrt(math.prod(shape[1:])))
        tensors[name] = drawn.half().cpu()
    tensors[model_sdxl.POSITION_IDS] = torch.arange(POSITIONS).unsqueeze(0)
    save_file(tensors, path)


def make_data(folder: Path, tiny: bool) -> None:
    """Latents of noise and texts of one to three chunks."""
    draws, side = np.random.default_rng(0), SIDE[tiny]
    (folder / "latents").mkdir(parents=True)
    texts = {}
    for number in range(IMAGES):
        tags = ", ".join(f"tag {n}" for n in range(20 * (1 + number % 3)))
        texts[str(number)] = {"tags": tags, "caption": "a photograph of noise", "train_resolution": [side, side]}
        latents = draws.standard_normal((4, side // 8, side // 8), dtype=np.float32) / 0.13025
        facts = {"original_size": np.array([side, side]), "crop_ltrb": np.array([0, 0, side, side])}
        np.savez(folder / "latents" / f"{number}.npz", latents=latents, **facts)
    (folder / "meta_lat.json").write_text(json.dumps(texts))
