"""Lists keys and shapes of the KL autoencoder in the original (LDM) layout, for any width.

As in the real one: four levels (1, 2, 4, 4 times the base width, a multiple of 32), so a factor of 8
in each direction; two residual blocks a level down and three up; attention in the middle; 4 latent
channels. Encoder input (N, 3, H, W) in [-1, 1], moments (N, 8, H/8, W/8).
"""

from extensions.model.shapes import Shapes, conv, norm

MULTIPLIERS = (1, 2, 4, 4)
LATENT_CHANNELS = 4


def vae_shapes(base: int) -> Shapes:
    """Return all keys of the autoencoder, without the `first_stage_model.` in front."""
    moments = 2 * LATENT_CHANNELS
    shapes = _encoder(base) | _decoder(base) | conv("quant_conv", moments, moments, 1)
    return shapes | conv("post_quant_conv", LATENT_CHANNELS, LATENT_CHANNELS, 1)


def _encoder(base: int) -> Shapes:
    shapes, width = conv("encoder.conv_in", base, 3, 3), base
    for level, multiplier in enumerate(MULTIPLIERS):
        for index in range(2):
            shapes |= _residual(f"encoder.down.{level}.block.{index}", width, multiplier * base)
            width = multiplier * base
        if level < len(MULTIPLIERS) - 1:
            shapes |= conv(f"encoder.down.{level}.downsample.conv", width, width, 3)
    shapes |= _middle("encoder.mid", width) | norm("encoder.norm_out", width)
    return shapes | conv("encoder.conv_out", 2 * LATENT_CHANNELS, width, 3)


def _decoder(base: int) -> Shapes:
    width = MULTIPLIERS[-1] * base
    shapes = conv("decoder.conv_in", width, LATENT_CHANNELS, 3) | _middle("decoder.mid", width)
    for level in reversed(range(len(MULTIPLIERS))):
        for index in range(3):
            shapes |= _residual(f"decoder.up.{level}.block.{index}", width, MULTIPLIERS[level] * base)
            width = MULTIPLIERS[level] * base
        if level:
            shapes |= conv(f"decoder.up.{level}.upsample.conv", width, width, 3)
    return shapes | norm("decoder.norm_out", width) | conv("decoder.conv_out", 3, width, 3)


def _middle(name: str, width: int) -> Shapes:
    shapes = _residual(f"{name}.block_1", width, width) | norm(f"{name}.attn_1.norm", width)
    for key in ("q", "k", "v", "proj_out"):
        shapes |= conv(f"{name}.attn_1.{key}", width, width, 1)
    return shapes | _residual(f"{name}.block_2", width, width)


def _residual(name: str, into: int, out: int) -> Shapes:
    shapes = norm(f"{name}.norm1", into) | conv(f"{name}.conv1", out, into, 3)
    shapes |= norm(f"{name}.norm2", out) | conv(f"{name}.conv2", out, out, 3)
    return shapes if into == out else shapes | conv(f"{name}.nin_shortcut", out, into, 1)
