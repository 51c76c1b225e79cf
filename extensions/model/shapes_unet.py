"""Lists keys and shapes of the U-Net in the original (LDM / SGM) layout, for any size.

Source of the names: the published SDXL and SD2.1 files; the tests compare them with diffusers' own
conversion of the full-size models. A head has 64 channels, so attention needs channels >= 64.
"""

from dataclasses import dataclass

from extensions.model.shapes import Shapes, conv, linear, norm

# Two residual blocks a level going down, three coming up: fixed in both models.
BLOCKS = 2


@dataclass(frozen=True)
class UNetSize:
    """Widths and depths; channel counts in channels, depths in transformer blocks (0: no attention)."""

    channels: int
    multipliers: tuple[int, ...]
    depths: tuple[int, ...]
    middle_depth: int
    context: int
    vector: int | None = None

    @property
    def embedding(self) -> int:
        """Width of the timestep embedding."""
        return 4 * self.channels


def unet_shapes(size: UNetSize) -> Shapes:
    """Return all keys of the U-Net, without the `model.diffusion_model.` in front."""
    shapes = _embeddings(size) | conv("input_blocks.0.0", size.channels, 4, 3)
    down, skips = _down(size)
    shapes |= down | _middle(size) | _up(size, skips)
    return shapes | norm("out.0", size.channels) | conv("out.2", 4, size.channels, 3)


def _embeddings(size: UNetSize) -> Shapes:
    width = size.embedding
    shapes = linear("time_embed.0", width, size.channels) | linear("time_embed.2", width, width)
    if size.vector is not None:
        shapes |= linear("label_emb.0.0", width, size.vector) | linear("label_emb.0.2", width, width)
    return shapes


def _down(size: UNetSize) -> tuple[Shapes, list[int]]:
    """Return the input blocks after the first, and the channels that each block hands to the way up."""
    shapes: Shapes = {}
    skips = [size.channels]
    for level, multiplier in enumerate(size.multipliers):
        out = multiplier * size.channels
        for _ in range(BLOCKS):
            shapes |= _block(f"input_blocks.{len(skips)}", skips[-1], out, size.depths[level], size)
            skips.append(out)
        if level < len(size.multipliers) - 1:
            shapes |= conv(f"input_blocks.{len(skips)}.0.op", out, out, 3)
            skips.append(out)
    return shapes, skips


def _middle(size: UNetSize) -> Shapes:
    width = size.multipliers[-1] * size.channels
    shapes = _residual("middle_block.0", width, width, size)
    shapes |= _transformer("middle_block.1", width, size.middle_depth, size.context)
    return shapes | _residual("middle_block.2", width, width, size)


def _up(size: UNetSize, skips: list[int]) -> Shapes:
    shapes: Shapes = {}
    width, index = skips[-1], 0
    for level in reversed(range(len(size.multipliers))):
        out = size.multipliers[level] * size.channels
        for _ in range(BLOCKS + 1):
            shapes |= _block(f"output_blocks.{index}", width + skips.pop(), out, size.depths[level], size)
            width, index = out, index + 1
        if level:
            place = 2 if size.depths[level] else 1
            shapes |= conv(f"output_blocks.{index - 1}.{place}.conv", out, out, 3)
    return shapes


def _block(name: str, into: int, out: int, depth: int, size: UNetSize) -> Shapes:
    attention = _transformer(f"{name}.1", out, depth, size.context) if depth else {}
    return _residual(f"{name}.0", into, out, size) | attention


def _residual(name: str, into: int, out: int, size: UNetSize) -> Shapes:
    shapes = norm(f"{name}.in_layers.0", into) | conv(f"{name}.in_layers.2", out, into, 3)
    shapes |= linear(f"{name}.emb_layers.1", out, size.embedding)
    shapes |= norm(f"{name}.out_layers.0", out) | conv(f"{name}.out_layers.3", out, out, 3)
    return shapes if into == out else shapes | conv(f"{name}.skip_connection", out, into, 1)


def _transformer(name: str, width: int, depth: int, context: int) -> Shapes:
    shapes = norm(f"{name}.norm", width) | linear(f"{name}.proj_in", width, width)
    for index in range(depth):
        shapes |= _transformer_block(f"{name}.transformer_blocks.{index}", width, context)
    return shapes | linear(f"{name}.proj_out", width, width)


def _transformer_block(name: str, width: int, context: int) -> Shapes:
    shapes = _attention(f"{name}.attn1", width, width) | _attention(f"{name}.attn2", width, context)
    shapes |= linear(f"{name}.ff.net.0.proj", 8 * width, width) | linear(f"{name}.ff.net.2", width, 4 * width)
    for index in (1, 2, 3):
        shapes |= norm(f"{name}.norm{index}", width)
    return shapes


def _attention(name: str, width: int, context: int) -> Shapes:
    shapes = linear(f"{name}.to_q", width, width, bias=False)
    for key in ("to_k", "to_v"):
        shapes |= linear(f"{name}.{key}", width, context, bias=False)
    return shapes | linear(f"{name}.to_out.0", width, width)
