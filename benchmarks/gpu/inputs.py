"""Makes the inputs of all stages: SDXL's single file with random weights, latents, texts. Nothing is downloaded."""

import json
import math
import time
import zlib
from pathlib import Path

import numpy as np

from benchmarks.gpu.setting import Setting, wait
from extensions.model import full_size
from extensions.model.shapes import Shapes, prefixed
from extensions.model.shapes_text import POSITIONS, clip_shapes, open_clip_shapes
from extensions.model.shapes_unet import unet_shapes
from extensions.model.shapes_vae import vae_shapes
from extensions.standins import model_sdxl, recipe
from extensions.standins.weights import by_suffix
from extensions.text.tokenizers import ensure_tokenizers

IMAGES = 24
CHUNKS = 3  # texts have 1, 2, 3 chunks in turn
# Width and height in pixels: what memory and speed are measured at, and some of SDXL's buckets.
SQUARE = {True: ((128, 128),), False: ((1024, 1024),)}
BUCKETS = {
    True: ((128, 128), (128, 64), (64, 128)),
    False: ((1024, 1024), (896, 1152), (1152, 896), (832, 1216), (1216, 832), (1344, 768)),
}


def model(setting: Setting) -> None:
    """Write base.safetensors, data/, buckets/ and tokenizers/ below `work`, and read the model back."""
    import torch
    from safetensors.torch import load_file, save_file

    work, base = setting.work, setting.work / "base.safetensors"
    ensure_tokenizers(work / "tokenizers")
    make_data(work / "data", SQUARE[setting.tiny])
    make_data(work / "buckets", BUCKETS[setting.tiny])
    began = time.perf_counter()
    tensors = drawn(setting)
    setting.put("draw_seconds", time.perf_counter() - began)
    began = time.perf_counter()
    save_file(tensors, base)
    size = base.stat().st_size
    setting.put("file_bytes", size)
    setting.put("written_gb_s", size / (time.perf_counter() - began) / 1e9)
    began = time.perf_counter()
    read = load_file(base, device=setting.device)
    wait(setting)
    setting.put("read_to_device_gb_s", size / (time.perf_counter() - began) / 1e9)
    equal = all(torch.equal(tensor, read[name].cpu()) for name, tensor in tensors.items())
    setting.check("what is read is what was written", equal)


def shapes(tiny: bool) -> Shapes:
    """Return keys and shapes of SDXL's single file; tiny: the stand-in's."""
    if tiny:
        return model_sdxl.sdxl_shapes()
    return {
        **prefixed("model.diffusion_model.", unet_shapes(full_size.SDXL_UNET)),
        **prefixed("conditioner.embedders.0.transformer.", clip_shapes(768, 12)),
        **prefixed("conditioner.embedders.1.model.", open_clip_shapes(1280, 32, 1280)),
        **prefixed("first_stage_model.", vae_shapes(128)),
    }


def drawn(setting: Setting) -> dict:
    """Return the base model in fp16 on the CPU, each tensor drawn on the device from a seed of its own."""
    import torch

    channels = (model_sdxl.UNET if setting.tiny else full_size.SDXL_UNET).channels
    scale = by_suffix({**recipe.unet_scales(channels, model_sdxl.OUT_NORM), **recipe.TEXT, **recipe.VAE})
    tensors = {}
    for name, shape in shapes(setting.tiny).items():
        if len(shape) < 2:
            tensors[name] = torch.full(shape, 0.0 if name.endswith("bias") else scale(name), dtype=torch.float16)
            continue
        draws = torch.Generator(setting.device).manual_seed(zlib.crc32(name.encode()))
        one = torch.randn(shape, generator=draws, device=setting.device)
        tensors[name] = (one * (scale(name) / math.sqrt(math.prod(shape[1:])))).half().cpu()
    tensors[model_sdxl.POSITION_IDS] = torch.arange(POSITIONS).unsqueeze(0)
    return tensors


def make_data(folder: Path, sizes: tuple[tuple[int, int], ...]) -> None:
    """Latents of noise in these sizes in turn, with texts of one to three chunks."""
    draws = np.random.default_rng(0)
    (folder / "latents").mkdir(parents=True, exist_ok=True)
    texts = {}
    for number in range(IMAGES):
        # Each size with each number of chunks.
        width, height = sizes[number // CHUNKS % len(sizes)]
        # Three tokens each: 60, 120 or 180, and the caption's.
        tags = ", ".join(f"tag {chr(ord('a') + n % 26)}" for n in range(20 * (1 + number % CHUNKS)))
        texts[str(number)] = {"tags": tags, "caption": "a photograph of noise", "train_resolution": [width, height]}
        latents = draws.standard_normal((4, height // 8, width // 8), dtype=np.float32) / 0.13025
        facts = {"original_size": np.array([width, height]), "crop_ltrb": np.array([0, 0, width, height])}
        np.savez(folder / "latents" / f"{number}.npz", latents=latents, **facts)
    (folder / "meta_lat.json").write_text(json.dumps(texts), encoding="utf-8")
