"""Scales the stand-ins' random weights, so that short training at real learning rates shows.

The problem. At the logbook's rates (1e-6 with AdamW) an update moves each weight by about the rate,
and in pure bf16 a weight of 0.02 does not move at all (half a unit in its last place is about 6e-5).
A network with ordinary weights would look the same after sixteen steps.

The cure. The last group norm (`out.0`) has a large weight and the last convolution (`out.2`) weights
near 0. The prediction therefore starts near 0 and the loss near the target's variance, 1. Weights so
small are resolved by bf16 far below the learning rate, and steps in a common direction add up over
fan-in (9 x channels) and norm weight to a visible change of the prediction. Residual branches are
damped, so that the noisy latents from `input_blocks.0`, which reach the last block over its skip
connection, are not drowned by deeper features; they are what a noise prediction needs.

The VAE. Its encoder is random too, but the kernels that change resolution are flat in space, so that
latents are smooth as real ones are. That matters for v-prediction: a frequency at which latents have
the noise's power (1) leaves no correlation between the target and the noisy latents, so white latents
could not be learned from at all. `quant_conv` is set so that photographs give latents of mean 0 and
of the deviation that the model's scaling factor undoes (1 / 0.13025 for SDXL, 1 / 0.18215 for SD2);
the variance that it predicts is near nothing, so a sampled latent is the mode within 0.007.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.model.shapes import Shapes
from extensions.standins.weights import Scales, by_suffix, fill

if TYPE_CHECKING:
    import torch

# Standard deviation of out.2 is 1e-5 for SDXL: multiply by sqrt(fan_in) because fill() divides by it.
OUT_DEVIATION = 1e-5
DAMPED = 0.2
SDXL_LATENT_STD = 1 / 0.13025
SD2_LATENT_STD = 1 / 0.18215
# Mean and deviation of the encoder's first four outputs over photographs(), before quant_conv.
ENCODER_MEAN = (-0.1485, -1.3399, -0.7112, 0.0195)
ENCODER_STD = (1.3842, 0.9966, 1.1857, 1.2936)
LOG_VARIANCE = -10.0
FLAT_KERNELS = (
    "encoder.conv_in",
    *(f"encoder.down.{level}.downsample.conv" for level in range(3)),
    "encoder.conv_out",
)

# Embeddings are multiplied by sqrt(fan_in = 64), which fill() divides by: a deviation of 0.5 and 0.1.
TEXT: Scales = {
    "token_embedding.weight": 4.0,
    "position_embedding.weight": 0.8,
    "positional_embedding": 0.8,
    "self_attn.out_proj.weight": DAMPED,
    "attn.out_proj.weight": DAMPED,
    "mlp.fc2.weight": DAMPED,
    "mlp.c_proj.weight": DAMPED,
    "logit_scale": 4.6052,
}
VAE: Scales = {"conv2.weight": DAMPED, "attn_1.proj_out.weight": DAMPED}


def unet_scales(channels: int, out_norm: float) -> Scales:
    """Scales for `weights.by_suffix`; `out_norm` is the weight of the last group norm."""
    return {
        "model.out.0.weight": out_norm,
        "model.out.2.weight": OUT_DEVIATION * (9 * channels) ** 0.5,
        "out_layers.3.weight": DAMPED,
        "proj_out.weight": DAMPED,
        "to_out.0.weight": DAMPED,
        "ff.net.2.weight": DAMPED,
    }


def tensors_of(shapes: Shapes, channels: int, out_norm: float, latent_std: float) -> dict[str, torch.Tensor]:
    """Draw a stand-in's float32 tensors by this recipe. channels: of the U-Net's first block."""
    tensors = fill(shapes, by_suffix({**unet_scales(channels, out_norm), **TEXT, **VAE}))
    smooth_vae(tensors)
    calibrate_vae(tensors, latent_std)
    return tensors


def smooth_vae(tensors: dict[str, torch.Tensor]) -> None:
    """Make the kernels of FLAT_KERNELS constant in space, in place, and keep their deviation."""
    for name in FLAT_KERNELS:
        weight = tensors[f"first_stage_model.{name}.weight"]
        side = weight.shape[-1]
        weight.copy_((weight.mean((2, 3), keepdim=True) * side).expand_as(weight))


def calibrate_vae(tensors: dict[str, torch.Tensor], deviation: float) -> None:
    """Set `quant_conv` in place: latents of mean 0 and the given deviation, log-variance LOG_VARIANCE."""
    import torch

    gain = deviation / torch.tensor(ENCODER_STD)
    weight = torch.zeros(8, 8, 1, 1)
    weight[:4, :4, 0, 0] = torch.diag(gain)
    tensors["first_stage_model.quant_conv.weight"] = weight
    offset = -torch.tensor(ENCODER_MEAN) * gain
    tensors["first_stage_model.quant_conv.bias"] = torch.cat([offset, torch.full((4,), LOG_VARIANCE)])
