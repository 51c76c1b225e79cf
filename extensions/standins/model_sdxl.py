"""Makes a shrunken SDXL checkpoint: the keys of the real single file, small shapes, random weights.

| part | real | here |
|---|---|---|
| U-Net | 320 channels, context 2048, vector 2816 | 32 channels, context 128, vector 1600 |
| transformer blocks | 2 and 10 a level | 1 and 2 a level |
| text encoder 1 | 12 layers of 768 | 12 layers of 64 |
| text encoder 2 | 32 layers of 1280, projection 1280 | 4 layers of 64, projection 64 |
| VAE | base 128 | base 32 |

Every block of the real U-Net is there under its real name, so lists of block names mean the same in both;
only the transformers inside the blocks are less deep. A head has 64 channels everywhere, as in the real
model. Why it learns within sixteen steps: see recipe.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from extensions.model.shapes import Shapes, prefixed
from extensions.model.shapes_text import POSITIONS, clip_shapes, open_clip_shapes
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.model.shapes_vae import vae_shapes
from extensions.standins import recipe, weights

if TYPE_CHECKING:
    import torch

TEXT_1 = 64
TEXT_2 = 64
TEXT_2_LAYERS = 4
PROJECTION = 64
# Six sizes (original, crop, target; two numbers each) of 256 sinusoids follow the pooled vector.
UNET = UNetSize(32, (1, 2, 4), (0, 1, 2), 2, context=TEXT_1 + TEXT_2, vector=PROJECTION + 6 * 256)
VAE_BASE = 32
OUT_NORM = 800.0
POSITION_IDS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"


def sdxl_shapes() -> Shapes:
    """Return every floating-point key of the file with its shape."""
    return {
        **prefixed("model.diffusion_model.", unet_shapes(UNET)),
        **prefixed("conditioner.embedders.0.transformer.", clip_shapes(TEXT_1, 12)),
        **prefixed("conditioner.embedders.1.model.", open_clip_shapes(TEXT_2, TEXT_2_LAYERS, PROJECTION)),
        **prefixed("first_stage_model.", vae_shapes(VAE_BASE)),
    }


def ensure_sdxl(path: Path) -> None:
    """Write the checkpoint to `path` unless a current one, or a foreign file, is there."""
    weights.ensure(path, tensors)


def tensors() -> dict[str, torch.Tensor]:
    """Draw every tensor of the file; position ids, int64 (1, 77), as the real file has them."""
    import torch

    ids = torch.arange(POSITIONS).unsqueeze(0)
    return recipe.tensors_of(sdxl_shapes(), UNET.channels, OUT_NORM, recipe.SDXL_LATENT_STD) | {POSITION_IDS: ids}
