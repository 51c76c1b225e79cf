"""Names the pieces of a U-Net, and what decides the size of one pass through it.

A piece is what gradient checkpointing takes as one: a residual block, a transformer block, a convolution that halves
or doubles the size. What stands around a transformer's blocks is one, too, which is always kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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


def positions(scale: int, one: Pass) -> int:
    """Positions of the latents of a batch at a scale."""
    return one.batch * (one.width // LATENT // scale) * (one.height // LATENT // scale)


def entry(piece: Piece, one: Pass) -> float:
    """Return the bytes of the input that checkpointing keeps."""
    return 0 if piece.kind == "transformer" else one.number * piece.into * positions(piece.scale, one)


def with_shapes(shapes: Shapes) -> Iterator[tuple[Piece, Shapes]]:
    """Yield each piece with the shapes of its parameters, by the rest of their names."""
    found = {piece.name: piece for piece in pieces(shapes)}
    own: dict[str, Shapes] = {name: {} for name in found}
    for name, shape in shapes.items():
        parts = name.split(".")
        for length in range(1, len(parts)):
            if (start := ".".join(parts[:length])) in own:
                own[start][".".join(parts[length:])] = shape
    return ((piece, own[name]) for name, piece in found.items())


def text_tokens(one: Pass) -> int:
    """Tokens a text that an encoder reads: whole chunks of 77."""
    return 77 * -(-one.tokens // 77)
