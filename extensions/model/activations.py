"""Counts the bytes that one forward and backward pass of the U-Net keeps beside weights and gradients.

With gradient checkpointing, what is kept is the input of every checkpointed piece (residual block,
transformer block, down- and up-sampling) and what lies between them; one piece at a time is computed again
and is whole in memory for that moment. Without it, every piece stays whole. The counts of a piece are those
of upstream's modules under autocast, where norms work in fp32. The tests hold them against what torch saves
for the backward pass of the full-size U-Net on the meta device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

from extensions.model.shapes import Shapes

HEAD_CHANNELS = 64
LATENT = 8  # pixels a latent
# The end of one parameter's LDM name, by which a piece is known.
MARKS = {
    "residual": ".in_layers.2.weight",
    "transformer": ".proj_in.weight",
    "block": ".attn1.to_q.weight",
    "down": ".op.weight",
    "up": ".conv.weight",
}


@dataclass(frozen=True)
class Piece:
    """One piece of the U-Net in the order of a sample. Widths in channels, scale in latents a position.

    name: what its parameters' LDM names begin with.
    """

    kind: str
    into: int
    out: int
    scale: int
    name: str


@dataclass(frozen=True)
class Pass:
    """What decides the size of one pass: pixels, images, tokens a text, bytes a number."""

    width: int
    height: int
    batch: int = 1
    tokens: int = 77
    number: int = 2
    checkpointing: bool = True
    efficient_attention: bool = True


def pieces(shapes: Shapes) -> Iterator[Piece]:
    """Yield the pieces of a U-Net, from the names and shapes of its parameters."""
    scale = 1
    for name, shape in shapes.items():
        kind, mark = next(((kind, mark) for kind, mark in MARKS.items() if name.endswith(mark)), ("", ""))
        if not kind or kind == "up" and not name.startswith("output_blocks."):
            continue
        yield Piece(kind, shape[1], shape[0], scale, name.removesuffix(mark))
        if kind == "down":
            scale *= 2
        elif kind == "up":
            scale //= 2


def bytes_of(shapes: Shapes, one: Pass) -> float:
    """Peak of one pass through the U-Net."""
    found = list(pieces(shapes))
    whole = [inner(piece, one) for piece in found]
    # The last norm (fp32 in and out) and convolution.
    ends = (4 + 4 + one.number) * shapes["out.2.weight"][1] * positions(1, one)
    if not one.checkpointing:
        return ends + sum(whole) + sum(between(piece, one) for piece in found) + max(whole)
    kept = sum(entry(piece, one) + between(piece, one) for piece in found)
    # The recomputed piece, and as much again for the gradients that run back through it.
    return ends + kept + 2 * max(whole)


def positions(scale: int, one: Pass) -> int:
    """Positions of the latents of a batch at a scale."""
    return one.batch * (one.width // LATENT // scale) * (one.height // LATENT // scale)


def entry(piece: Piece, one: Pass) -> float:
    """Return the input that checkpointing keeps."""
    return 0 if piece.kind == "transformer" else one.number * piece.into * positions(piece.scale, one)


def between(piece: Piece, one: Pass) -> float:
    """Return what is kept around a transformer's blocks: the norm's input in fp32, those of the two projections."""
    return (4 + 2 * one.number) * piece.into * positions(piece.scale, one) if piece.kind == "transformer" else 0


def inner(piece: Piece, one: Pass) -> float:
    """Return everything that the backward pass of one piece reads."""
    area = positions(piece.scale, one)
    if piece.kind == "residual":
        # Twice norm (fp32 in and out) and convolution.
        return (4 + 4 + one.number) * (piece.into + piece.out) * area
    if piece.kind == "block":
        # Three norms in fp32 and their outputs; q, k, v and result of self-attention; q and result of
        # cross-attention; the feed-forward's 8 + 4 + 4 widths.
        return area * piece.into * (3 * 4 + (3 + 4 + 2 + 16) * one.number) + scores(piece, one)
    # A convolution; the one that goes up reads its input four times as large. A transformer is its blocks.
    return {"down": 1, "up": 4, "transformer": 0}[piece.kind] * one.number * piece.into * area


def scores(piece: Piece, one: Pass) -> float:
    """Attention's softmax (fp32) over image and text, where attention is not memory-efficient."""
    if one.efficient_attention:
        return 0.0
    heads, area = piece.into // HEAD_CHANNELS, positions(piece.scale, one)
    return 4 * heads * area * (area / one.batch + one.tokens)


def text_bytes(width: int, layers: int, one: Pass) -> float:
    """One pass through a text encoder that trains: a layer's input, or all that a layer computes."""
    tokens = 77 * ceil(one.tokens / 77)  # always in whole chunks
    a_layer = width * tokens * one.batch * one.number
    return a_layer * (layers + 34 if one.checkpointing else 34 * layers)


def text_size(shapes: Shapes) -> tuple[int, int]:
    """Return (width, layers) of a text encoder."""
    norms = [shape for name, shape in shapes.items() if name.endswith(("layer_norm1.weight", "ln_1.weight"))]
    return prod(norms[0]), len(norms)
