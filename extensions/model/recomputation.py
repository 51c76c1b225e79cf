"""Chooses which pieces of the models keep their activations: most FLOPs of recomputation saved a byte kept, first.

What is kept changes no bit of the result: the rest is computed again by PyTorch's non-reentrant checkpointing, whose
backward pass has the same operations in the same order as that of a piece that is kept. So the choice may follow the
memory at hand, in each process by itself and in each launch anew.
"""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from extensions.model.full_size import UNET
from extensions.model.piece_costs import BYTES, FLOPS, layer_bytes, layer_flops
from extensions.model.pieces import Pass, entry, positions, text_tokens, with_shapes
from extensions.model.shapes import Shapes

AUTO, ALL, NONE, UPSTREAM = WAYS = ("auto", "all", "none", "upstream")
GB = 2**30
MARGIN = 0.04  # of the card: what `auto` leaves free, for what the allocator cannot place
LAYER = re.compile(r"(?P<number>\d+)\.(layer_norm1|ln_1)\.weight$")
QUICK = "text encoder 1"  # of SDXL alone; the others have the usual gelu
KINDS = {
    "residual": "residual blocks",
    "block": "transformer blocks",
    "up": "up-sampling convolutions",
    "layer": "text encoder layers",
}


@dataclass(frozen=True)
class Unit:
    """A piece that is kept or recomputed as a whole.

    model: as logs name it. name: what its parameters' LDM names begin with; a text encoder's layer by its number.
    bytes: kept beyond its input, which stays in any case. flops: computed again where it is not kept.
    """

    model: str
    name: str
    kind: str
    bytes: float
    flops: float


@dataclass(frozen=True)
class Choice:
    """What is kept and what is recomputed, in the models' order. forward: FLOPs of one forward pass of all models."""

    kept: tuple[Unit, ...]
    recomputed: tuple[Unit, ...]
    forward: float

    @property
    def bytes(self) -> float:
        """Kept beyond what recomputing everything keeps."""
        return sum(unit.bytes for unit in self.kept)

    @property
    def flops(self) -> float:
        """Computed again in each micro-step."""
        return sum(unit.flops for unit in self.recomputed)

    @property
    def share(self) -> float:
        """The same as a share of the forward pass."""
        return self.flops / self.forward

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return {kind in words: (pieces kept, pieces)}."""
        found = {}
        for kind, words in KINDS.items():
            kept, rest = (sum(unit.kind == kind for unit in units) for units in (self.kept, self.recomputed))
            if kept + rest:
                found[words] = (kept, kept + rest)
        return found

    def text(self) -> str:
        """Return it in one line, for a person."""
        kept = ", ".join(f"{kept} of {of} {words}" for words, (kept, of) in self.counts().items())
        return (
            f"kept: {kept}: {self.bytes / GB:.2f} GB; computed again: {self.flops / 1e12:.3g} of "
            f"{self.forward / 1e12:.3g} TFLOP of a forward pass ({self.share:.0%})"
        )

    def record(self) -> dict:
        """Return it for metrics.jsonl."""
        return {
            "kept_gb": self.bytes / GB,
            "recomputed_tflop": self.flops / 1e12,
            "forward_tflop": self.forward / 1e12,
            "recomputed_share": self.share,
            "kept": {words: f"{kept} of {of}" for words, (kept, of) in self.counts().items()},
        }


def choose(units: Iterable[Unit], budget: float, forward: float) -> Choice:
    """Return the choice for a budget in bytes: by FLOPs a byte, each piece that still fits.

    The same units and budget give the same choice: of one ratio, those that a sample passes first are kept.
    """
    units = tuple(units)
    kept, left = set(), budget
    for place in sorted(range(len(units)), key=lambda place: -units[place].flops / units[place].bytes):
        if units[place].bytes <= left:
            kept.add(place)
            left -= units[place].bytes
    rest = tuple(unit for place, unit in enumerate(units) if place not in kept)
    return Choice(tuple(units[place] for place in sorted(kept)), rest, forward)


def budget_of(said: str | float, spare: float = 0.0) -> float:
    """Return the budget in bytes of a value of --recompute but UPSTREAM. spare: bytes that AUTO may use."""
    if isinstance(said, str):
        return {AUTO: max(spare, 0.0), ALL: 0.0, NONE: float("inf")}[said]
    return said * GB


def units_of(models: Mapping[str, Shapes], trained: Mapping[str, Container[str]], one: Pass) -> list[Unit]:
    """Return what can be kept of a run's models.

    models: {"U-Net": shapes by LDM name, "text encoder 1": …}. trained: {model: names of parameters that get a
    gradient}. No gradient passes a text encoder that does not train, and nothing of it is kept.
    """
    found: list[Unit] = []
    for model, shapes in models.items():
        names = trained.get(model, ())
        if model == UNET:
            found += unet_units(shapes, names, one)
        else:
            found += layers(model, shapes, names, is_quick(model, len(models)), one)
    return [unit for unit in found if unit.bytes > 0]


def unet_units(shapes: Shapes, trained: Container[str], one: Pass) -> Iterator[Unit]:
    """Yield the U-Net's: residual blocks, transformer blocks, convolutions that go up."""
    for piece, own in with_shapes(shapes):
        if piece.kind in BYTES:
            trains = any(f"{piece.name}.{name}" in trained for name in own)
            saved = BYTES[piece.kind](piece, own, trains, one) - entry(piece, one)
            yield Unit(UNET, piece.name, piece.kind, saved, FLOPS[piece.kind](piece, own, one)[1])


def layers(model: str, shapes: Shapes, trained: Container[str], quick: bool, one: Pass) -> Iterator[Unit]:
    """Yield a text encoder's layers that train: SDXL reads its first encoder before the last one."""
    for name, shape in shapes.items():
        if (found := LAYER.search(name)) and name in trained:
            tokens = text_tokens(one)
            again = layer_flops(shape[0], tokens, one)[1]
            # Its input in 16 bits stays, as the U-Net's pieces' do.
            saved = layer_bytes(shape[0], tokens, quick, one) - one.number * shape[0] * tokens * one.batch
            yield Unit(model, found["number"], "layer", saved, again)


def forward_flops(models: Mapping[str, Shapes], one: Pass) -> float:
    """FLOPs of one forward pass of all models."""
    total = 0.0
    for model, shapes in models.items():
        if model == UNET:
            total += sum(FLOPS[piece.kind](piece, own, one)[0] for piece, own in with_shapes(shapes))
            ends = shapes["input_blocks.0.0.weight"], shapes["out.2.weight"]
            total += sum(2 * 9 * out * into * positions(1, one) for out, into, *_ in ends)
        else:
            total += sum(layer_flops(width, text_tokens(one), one)[0] for width in layer_widths(shapes))
    return total


def is_quick(model: str, models: int) -> bool:
    """Tell whether a text encoder's activation is x * sigmoid(1.702 x). models: how many the family has."""
    return model == QUICK and models > 2


def layer_widths(shapes: Shapes) -> list[int]:
    """Return the width of each layer of a text encoder."""
    return [shape[0] for name, shape in shapes.items() if LAYER.search(name)]
