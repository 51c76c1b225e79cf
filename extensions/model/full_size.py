"""Lists the tensors of the published SDXL and SD2.1 models. Nothing is loaded.

The tests hold the counts against diffusers' and transformers'.
"""

from functools import cache

from extensions.model.shapes import Shapes
from extensions.model.shapes_text import clip_shapes, open_clip_shapes
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.model.sizes import SD2_TEXT_LAYERS

SDXL_UNET = UNetSize(320, (1, 2, 4), (0, 2, 10), 10, context=2048, vector=2816)
SD2_UNET = UNetSize(320, (1, 2, 4, 4), (1, 1, 1, 0), 1, context=1024)
UNET = "U-Net"


@cache
def shapes(family: str) -> dict[str, Shapes]:
    """Return {"U-Net": shapes, "text encoder 1": …} as the trainers build them; family: "sdxl" or "sd2"."""
    if family == "sdxl":
        second = open_clip_shapes(1280, 32, 1280)
        return {
            UNET: unet_shapes(SDXL_UNET),
            "text encoder 1": clip_shapes(768, 12),
            "text encoder 2": {name: shape for name, shape in second.items() if name != "logit_scale"},
        }
    encoder = open_clip_shapes(1024, SD2_TEXT_LAYERS, 1024)
    unused = ("logit_scale", "text_projection")
    encoder = {name: shape for name, shape in encoder.items() if name not in unused}
    return {UNET: unet_shapes(SD2_UNET), "text encoder 1": encoder}
