"""Makes a shrunken SD2.1 (768, v-prediction) checkpoint: the real file's keys, small shapes, random weights.

| part | real | here |
|---|---|---|
| U-Net | 320 channels, context 1024 | 64 channels, context 64 |
| text encoder | 24 layers of 1024, projection 1024 | 24 layers of 64, projection 64 |
| VAE | base 128 | base 32 |

A head has 64 channels as in the real model, and SD2 attends at full resolution, hence 64 channels.
sd-scripts reads 23 of the 24 text layers (`convert_ldm_clip_checkpoint_v2`); the file holds 24.
The noise schedule's buffers of the real file (betas and so on) are left out: no loader reads them.
Why it learns within sixteen steps: see recipe.py.
"""

from pathlib import Path

from extensions.model.shapes import Shapes, prefixed
from extensions.model.shapes_text import open_clip_shapes
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.model.shapes_vae import vae_shapes
from extensions.standins import recipe, weights

TEXT = 64
UNET = UNetSize(64, (1, 2, 4, 4), (1, 1, 1, 0), 1, context=TEXT)
VAE_BASE = 32
OUT_NORM = 75.0


def sd2_shapes() -> Shapes:
    """Return every key of the file with its shape."""
    return {
        **prefixed("model.diffusion_model.", unet_shapes(UNET)),
        **prefixed("cond_stage_model.model.", open_clip_shapes(TEXT, 24, TEXT)),
        **prefixed("first_stage_model.", vae_shapes(VAE_BASE)),
    }


def ensure_sd2(path: Path) -> None:
    """Write the checkpoint to `path` unless a current one, or a foreign file, is there."""
    weights.ensure(path, lambda: recipe.tensors_of(sd2_shapes(), UNET.channels, OUT_NORM, recipe.SD2_LATENT_STD))
