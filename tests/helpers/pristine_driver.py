"""Run the untouched sdxl_train.py on the stand-in model: sizes are given by hand, nothing of ours is loaded.

python pristine_driver.py SD_SCRIPTS [flags of sdxl_train.py]

CHANNELS in the environment: the U-Net's; 32 where it is not there.
"""

import os
import runpy
import sys

tree, channels = sys.argv.pop(1), int(os.environ.get("CHANNELS", "32"))
sys.path.insert(0, tree)

from library import model_util, sdxl_model_util, sdxl_original_unet as unet  # noqa: E402, I001

unet.MODEL_CHANNELS, unet.TIME_EMBED_DIM, unet.ADM_IN_CHANNELS = channels, 4 * channels, 1600
model_util.VAE_PARAMS_CH = 32
full_config = sdxl_model_util.CLIPTextConfig


class SmallTransformer(unet.Transformer2DModel):
    """A class, not a function: upstream's forward asks for the type."""

    def __init__(self, **sizes):
        depth = {2 * channels: 1, 4 * channels: 2}[sizes["in_channels"]]
        super().__init__(**sizes | {"cross_attention_dim": 128, "num_transformer_layers": depth})


unet.Transformer2DModel = SmallTransformer
sdxl_model_util.CLIPTextConfig = lambda **sizes: full_config(
    **sizes
    | {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "projection_dim": 64}
    | {"num_hidden_layers": {12: 12, 32: 4}[sizes["num_hidden_layers"]]}
)
runpy.run_path(f"{tree}/sdxl_train.py", run_name="__main__")
