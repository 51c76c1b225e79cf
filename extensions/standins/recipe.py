"""How the stand-ins' random weights are scaled, so that short training at real learning rates shows.

The problem. At the logbook's rates (1e-6 with AdamW) an update moves each weight by about the rate,
and in pure bf16 a weight of 0.02 does not move at all (half a unit in its last place is about 6e-5).
A network with ordinary weights would look the same after sixteen steps.

The cure. The last group norm (`out.0`) has a large weight and the last convolution (`out.2`) weights
near 0. The prediction therefore starts near 0 and the loss near the target's variance, 1. Weights so
small are resolved by bf16 far below the learning rate, and steps in a common direction add up over
fan-in (9 x channels) and norm weight to a visible change of the prediction. Residual branches are
damped, so that the noisy latents from `input_blocks.0`, which reach the last block over its skip
connection, are not drowned by deeper features; they are what a noise prediction needs.
"""

from extensions.standins.weights import Scales

# Standard deviation of out.2 is 1e-5 for SDXL: multiply by sqrt(fan_in) because fill() divides by it.
OUT_DEVIATION = 1e-5
DAMPED = 0.2


def unet_scales(channels: int, out_norm: float) -> Scales:
    """Scales for `weights.by_suffix`; `out_norm` is the weight of the last group norm."""
    return {
        "out.0.weight": out_norm,
        "model.out.2.weight": OUT_DEVIATION * (9 * channels) ** 0.5,
        "out_layers.3.weight": DAMPED,
        "proj_out.weight": DAMPED,
        "to_out.0.weight": DAMPED,
        "ff.net.2.weight": DAMPED,
    }
