"""Computes the bytes that one forward and backward pass holds beside weights and gradients, at its peak.

Without gradient checkpointing every piece is kept whole, and the peak is where the backward pass begins. With it,
the input of every piece is kept and what stands between the pieces; the backward pass frees the kept ones from the
last on, and holds one piece whole, which it computes again, with the gradients that run back through it. The peak is
the largest sum of what the pieces before it keep and what it holds itself. The counts of a piece are
`piece_costs.py`'s. The tests hold them against what torch saves for the full-size models, and the peak of a whole
step against PyTorch's memory tracker.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass

from extensions.model import recomputation
from extensions.model.piece_costs import BYTES, layer_bytes
from extensions.model.pieces import Pass, Piece, entry, positions, text_tokens, with_shapes
from extensions.model.shapes import Shapes


@dataclass(frozen=True)
class Held:
    """What a piece holds, in bytes: from the forward pass on, and while its own backward pass runs."""

    kept: float
    running: float


def bytes_of(shapes: Shapes, one: Pass, whole: Container[str] = (), trained: Container[str] | None = None) -> float:
    """Compute the peak of one pass through the U-Net.

    shapes: of its parameters, by LDM name. whole: names of the pieces that are kept, where `one` has checkpointing;
    all are where it has none. trained: names of the parameters that get a gradient; None: all of them.
    """
    peak = before = 0.0
    for piece in held(shapes, one, whole, trained):
        peak = max(peak, before + piece.running)
        before += piece.kept
    return max(peak, before + ends(shapes, one))


def after_forward(shapes: Shapes, one: Pass) -> float:
    """Compute what one pass through the U-Net keeps for its backward pass, everything trained."""
    return sum(piece.kept for piece in held(shapes, one, (), None)) + ends(shapes, one)


def held(shapes: Shapes, one: Pass, whole: Container[str], trained: Container[str] | None) -> Iterator[Held]:
    """Yield what each piece holds, in the order of a sample; arguments as `bytes_of`'s."""
    for piece, own in with_shapes(shapes):
        trains = trained is None or any(f"{piece.name}.{name}" in trained for name in own)
        inner = BYTES[piece.kind](piece, own, trains, one) if piece.kind in BYTES else entry(piece, one)
        again = one.checkpointing and piece.name not in whole
        around = between(piece, one)
        yield Held(around + (entry(piece, one) if again else inner), around + inner + gradients(piece, one))


def ends(shapes: Shapes, one: Pass) -> float:
    """Return what the last norm (fp32 in and out) and convolution keep; the first keeps next to nothing."""
    return (4 + 4 + one.number) * shapes["out.2.weight"][1] * positions(1, one)


def between(piece: Piece, one: Pass) -> float:
    """Return what is kept around a transformer's blocks: the norm's input in fp32, those of the two projections."""
    return (4 + 2 * one.number) * piece.into * positions(piece.scale, one) if piece.kind == "transformer" else 0


def gradients(piece: Piece, one: Pass) -> float:
    """Return the gradients that a piece's backward pass holds at once."""
    area = positions(piece.scale, one)
    if piece.kind == "residual":
        return 2 * 4 * max(piece.into, piece.out) * area  # of an activation's result and input, in a norm's fp32
    return {"block": 8 + 4, "up": 4 + 1}.get(piece.kind, 2) * one.number * piece.into * area


def text_bytes(shapes: Shapes, quick: bool, one: Pass) -> float:
    """Compute one pass through a text encoder that trains: a layer's input each, and one layer, or all layers whole.

    quick: as `piece_costs.layer_bytes` says.
    """
    widths = recomputation.layer_widths(shapes)
    whole = [layer_bytes(width, text_tokens(one), quick, one) for width in widths]
    if not one.checkpointing:
        return sum(whole)
    return sum(one.number * width * text_tokens(one) * one.batch for width in widths) + max(whole)
