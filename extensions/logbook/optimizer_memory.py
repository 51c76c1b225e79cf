"""Bytes that an optimizer keeps for its tensors, and needs for a moment in its step.

Read off each library's source: bitsandbytes `Optimizer2State.init_state` and `Optimizer1State.init_state`
(8-bit from 4096 elements up, one fp32 maximum a 256 elements), torchao's 4-bit subclass (blocks of 128),
transformers' `Adafactor`, pytorch_optimizer's `CAME` and `Lion`, torch's `AdamW` (its foreach form, the
default on a GPU, makes one more copy of all parameters for a moment).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, prod

Shape = tuple[int, ...]
SMALLEST_8BIT = 4096  # elements; smaller tensors keep 32-bit state
BLOCK_8BIT, BLOCK_4BIT = 256, 128


@dataclass(frozen=True)
class Kind:
    """state(shape, width): bytes kept for a tensor whose elements have `width` bytes.

    step_largest: bytes an element of the largest tensor needed for a moment, over and above `width` times
    step_copies of it; step_all: copies of all parameters needed for a moment.
    """

    state: Callable[[Shape, int], float]
    step_fp32: int = 0
    step_copies: int = 0
    step_all: int = 0


def quantised(moments: int) -> Callable[[Shape, int], float]:
    """bitsandbytes' 8-bit state of so many moments."""

    def state(shape: Shape, _width: int) -> float:
        size = prod(shape)
        each = 4 * size if size < SMALLEST_8BIT else size + 4 * ceil(size / BLOCK_8BIT)
        return moments * each

    return state


def four_bit(shape: Shape, width: int) -> float:
    """torchao's two 4-bit moments; tensors that are small or do not divide into blocks stay as they are."""
    size = prod(shape)
    small = size < SMALLEST_8BIT or size % BLOCK_4BIT
    return 2 * (width * size if small else size / 2 + 4 * size / BLOCK_4BIT)


def plain(moments: int) -> Callable[[Shape, int], float]:
    """Moments of the parameter's own type."""
    return lambda shape, width: moments * width * prod(shape)


def factors(shape: Shape) -> int:
    """Elements of a row and a column factor over the last two axes; a 3x3 kernel saves only a third."""
    return prod(shape[:-1]) + prod(shape[:-2]) * shape[-1]


def adafactor(shape: Shape, _width: int) -> float:
    """Second moment in fp32, factored from two axes up."""
    return 4 * (factors(shape) if len(shape) > 1 else prod(shape))


def came(shape: Shape, width: int) -> float:
    """A first moment, and factors of the second moment and of its instability."""
    return width * (prod(shape) + (2 * factors(shape) if len(shape) > 1 else prod(shape)))


KINDS = {
    "adamw": Kind(plain(2), step_all=1),
    "adamw8bit": Kind(quantised(2)),
    "lion": Kind(plain(1), step_copies=3),
    "cautiouslion": Kind(plain(1), step_copies=3),
    "lion8bit": Kind(quantised(1)),
    "adamw4bit": Kind(four_bit),
    "adafactor": Kind(adafactor, step_fp32=4),
    "came": Kind(came, step_copies=3),
    "sgd": Kind(plain(0)),
}


def kind(name: str) -> Kind | None:
    """The optimizer of --optimizer_type, in any spelling that upstream takes; None for an unknown one."""
    short = name.rpartition(".")[2].lower().removeprefix("paged").removesuffix("32bit")
    return KINDS.get(short or "adamw")


def state_bytes(name: str, shapes: Iterable[Shape], width: int) -> float:
    """State of all tensors; an unknown optimizer counts as AdamW."""
    of = (kind(name) or KINDS["adamw"]).state
    return sum(of(shape, width) for shape in shapes)


def step_bytes(name: str, shapes: Iterable[Shape], width: int) -> float:
    """What a step needs for a moment beside gradients and state."""
    sizes = [prod(shape) for shape in shapes]
    if not sizes:
        return 0.0
    of = kind(name) or KINDS["adamw"]
    return (4 * of.step_fp32 + width * of.step_copies) * max(sizes) + width * of.step_all * sum(sizes)
