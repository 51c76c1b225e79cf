"""Makes the stand-in data sets: photographs() as latents of the stand-in VAE, at most 192x192 px of area."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from extensions.base.errors import UserError
from extensions.data.buckets import STANDIN_AREA
from extensions.data.make.prepare import Source, prepare
from extensions.standins.photos import photographs
from extensions.standins.weights import fingerprint

if TYPE_CHECKING:
    import numpy as np
    import torch

KINDS = ("sdxl", "sd2")
_encoded: dict[tuple[str, bytes], torch.Tensor] = {}


def ensure_dataset(folder: Path, kind: str, checkpoint: Path) -> tuple[Path, Path]:
    """Build `folder`/meta_lat.json and `folder`/latents/<id>.npz with the VAE of `checkpoint`.

    Latents are the mode of the VAE's distribution: no random numbers. Returns (metadata, latents folder).
    Raises UserError when `kind` is neither "sdxl" nor "sd2".
    """
    if kind not in KINDS:
        raise UserError(f"no stand-in dataset of kind {kind!r}; give one of {', '.join(KINDS)}")
    sources = [Source(p.id, p.path, p.tags, p.caption) for p in photographs()]
    metadata, latents = Path(folder) / "meta_lat.json", Path(folder) / "latents"
    encode, name = mode_encoder(checkpoint), f"stand-in {kind} {fingerprint()}"
    prepare(sources, latents, metadata, encode, max_area=STANDIN_AREA, encoder=name)
    return metadata, latents


def mode_encoder(checkpoint: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function for `prepare`; the VAE is loaded at its first call, so a warm start needs no torch."""

    def encode(pixels: np.ndarray) -> np.ndarray:
        import torch

        vae, fingerprint = load_vae(str(checkpoint))
        # Both stand-in checkpoints have one encoder and differ in quant_conv; encoding is the slow part.
        key = (fingerprint, hashlib.sha256(pixels.tobytes()).digest())
        with torch.inference_mode():
            if key not in _encoded:
                _encoded[key] = vae.encoder(torch.from_numpy(pixels))
            return vae.quant_conv(_encoded[key]).chunk(2, dim=1)[0].numpy()

    return encode


@lru_cache(maxsize=2)
def load_vae(checkpoint: str):
    """Return (the checkpoint's autoencoder in float32, digest of its encoder)."""
    from extensions.model import autoencoder

    model = autoencoder.load(checkpoint)
    return model, _digest(model.encoder.state_dict())


def _digest(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in state.values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
