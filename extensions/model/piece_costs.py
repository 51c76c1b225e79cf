"""Counts what a piece of a model keeps for the backward pass, and what it costs to compute it again.

Bytes are those under CUDA's autocast, where norms work in fp32 and each Linear makes a 16-bit copy of what it
reads. A transformer block of which nothing trains keeps less: its Linear layers do not need what they read.
(PyTorch's convolutions save it all the same.)

FLOPs are two a multiply-add. Computing a piece again costs less than its forward pass: non-reentrant checkpointing
stops as soon as the last tensor that the backward pass reads is there, and the last product of a piece has only to
begin for that. A convolution that doubles the size is nothing but such a product; one that halves it keeps its input
and no more, so that it is never recomputed at all. Norms, embeddings and the final projections are left out: they are
below 1 %.
"""

from collections.abc import Callable

from extensions.model.pieces import HEAD_CHANNELS, Pass, Piece, entry, positions
from extensions.model.shapes import Shapes

SHORTCUT, TEXT = "skip_connection.weight", "attn2.to_k.weight"


def casts(one: Pass) -> bool:
    """Tell whether autocast makes 16-bit copies of what norms have computed in fp32."""
    return one.number < 4


def residual_bytes(piece: Piece, own: Shapes, trains: bool, one: Pass) -> float:
    """Twice a norm's input and output in fp32, and what the convolution reads; what the shortcut reads."""
    shortcut = one.number * piece.into if casts(one) and SHORTCUT in own else 0
    return ((8 + one.number) * (piece.into + piece.out) + shortcut) * positions(piece.scale, one)


def block_bytes(piece: Piece, own: Shapes, trains: bool, one: Pass) -> float:
    """Three norms in fp32, two attentions, the feed-forward's eight widths and their gelu.

    Where it trains, what its Linear layers read, too: a copy for each reader of the first norm, and the text.
    """
    area, number, width = positions(piece.scale, one), one.number, piece.into
    texts = one.batch * one.tokens
    readers = 3 if casts(one) else 1
    saved = area * width * (12 + number * (4 + 2 + 12 + (readers + 2 + 4 if trains else 0)))
    saved += 2 * number * texts * width  # key and value of the text
    if trains and casts(one):
        saved += 2 * number * texts * own[TEXT][1]
    heads = width // HEAD_CHANNELS
    if one.efficient_attention:
        return saved + 2 * 4 * heads * area  # the logarithm of each softmax's sum
    scores = heads * area * (area / one.batch + one.tokens)
    return saved + scores * (4 + (number if casts(one) else 0))


def up_bytes(piece: Piece, own: Shapes, trains: bool, one: Pass) -> float:
    """Return the convolution's input in the larger size."""
    return 4 * entry(piece, one)


def layer_bytes(width: int, tokens: int, quick: bool, one: Pass) -> float:
    """Of a text encoder's layer that trains. quick: its activation is x * sigmoid(1.702 x), which keeps one more.

    What attention gives is copied: it stands by head where a mask is given, and is read by token.
    """
    readers = 3 if casts(one) else 1
    widths = readers + 1 + 5 + (12 if quick else 8)
    return (8 + one.number * widths) * width * tokens * one.batch


def residual_flops(piece: Piece, own: Shapes, one: Pass) -> tuple[float, float]:
    """FLOPs of the forward pass, and of what is computed again: all but the last product."""
    area = positions(piece.scale, one)
    first, second = (2 * 9 * into * piece.out * area for into in (piece.into, piece.out))
    embedding = 2 * one.batch * own["emb_layers.1.weight"][1] * piece.out
    if SHORTCUT not in own:
        return first + second + embedding, first + embedding
    return first + second + embedding + 2 * piece.into * piece.out * area, first + second + embedding


def block_flops(piece: Piece, own: Shapes, one: Pass) -> tuple[float, float]:
    """As `residual_flops`; the last product is the feed-forward's second."""
    area, width = positions(piece.scale, one), piece.into
    linear = 2 * area * width * width * (4 + 2 + 8 + 4)
    texts = 2 * 2 * one.batch * one.tokens * own[TEXT][1] * width
    attention = 4 * area * width * (area / one.batch + one.tokens)
    whole = linear + texts + attention
    return whole, whole - 2 * area * width * 4 * width


def layer_flops(width: int, tokens: int, one: Pass) -> tuple[float, float]:
    """As `residual_flops`, of a text encoder's layer; it attends to 77 tokens at a time."""
    read = tokens * one.batch
    whole = 2 * 12 * width * width * read + 4 * 77 * width * read
    return whole, whole - 2 * 4 * width * width * read


def up_flops(piece: Piece, own: Shapes, one: Pass) -> tuple[float, float]:
    """As `residual_flops`."""
    return 2 * 9 * piece.into * piece.out * 4 * positions(piece.scale, one), 0.0


def down_flops(piece: Piece, own: Shapes, one: Pass) -> tuple[float, float]:
    """As `residual_flops`."""
    return 2 * 9 * piece.into * piece.out * positions(piece.scale, one) / 4, 0.0


def around_flops(piece: Piece, own: Shapes, one: Pass) -> tuple[float, float]:
    """As `residual_flops`, of the two projections around a transformer's blocks, which nothing recomputes."""
    return 2 * 2 * piece.into * piece.out * positions(piece.scale, one), 0.0


FLOPS: dict[str, Callable[[Piece, Shapes, Pass], tuple[float, float]]] = {
    "residual": residual_flops,
    "block": block_flops,
    "up": up_flops,
    "down": down_flops,
    "transformer": around_flops,
}
BYTES: dict[str, Callable[[Piece, Shapes, bool, Pass], float]] = {
    "residual": residual_bytes,
    "block": block_bytes,
    "up": up_bytes,
}
