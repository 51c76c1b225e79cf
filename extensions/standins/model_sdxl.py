"""A shrunken SDXL checkpoint: the keys of the real single file, small shapes, random weights.

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

from pathlib import Path

from extensions.model.shapes import Shapes, prefixed
from extensions.model.shapes_text import POSITIONS, clip_shapes, open_clip_shapes
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.model.shapes_vae import vae_shapes
from extensions.standins import recipe
from extensions.standins.weights import by_suffix, fill, save_checkpoint, wanted

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
    """Every floating-point key of the file with its shape."""
    return {
        **prefixed("model.diffusion_model.", unet_shapes(UNET)),
        **prefixed("conditioner.embedders.0.transformer.", clip_shapes(TEXT_1, 12)),
        **prefixed("conditioner.embedders.1.model.", open_clip_shapes(TEXT_2, TEXT_2_LAYERS, PROJECTION)),
        **prefixed("first_stage_model.", vae_shapes(VAE_BASE)),
    }


def ensure_sdxl(path: Path) -> None:
    """Write the checkpoint to `path` (safetensors, float16) unless a current one, or a foreign file, is there.

    Raises UserError when the folder cannot be written.
    """
    if wanted(Path(path)):
        save_checkpoint(_tensors(), Path(path))


def _tensors() -> dict:
    import torch

    scales = {**recipe.unet_scales(UNET.channels, OUT_NORM), **recipe.TEXT, **recipe.VAE}
    tensors = fill(sdxl_shapes(), by_suffix(scales))
    recipe.smooth_vae(tensors)
    recipe.calibrate_vae(tensors, recipe.SDXL_LATENT_STD)
    tensors[POSITION_IDS] = torch.arange(POSITIONS).unsqueeze(0)
    return tensors
