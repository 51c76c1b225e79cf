"""Counts the bytes that an optimizer keeps for its tensors, and needs for a moment in its step.

State is extensions/optimizers/facts.py's. What a step needs for a moment is what torch's profiler counts on a CPU
(the tests count again), where the libraries run the same operators as on a GPU. bitsandbytes does not: its GPU
kernels work in place. torch's `AdamW` is counted in its foreach form, the default on a GPU.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from extensions.optimizers.facts import OPTIMIZERS, PIECE, Shape, short, slices

# What optimizers/rounding.py takes for a moment, bytes an element of a piece: random bits as 32-bit numbers, a mask,
# and the nearest numbers.
ROUNDING = {"stochastic": 5, "kahan": 9}


@dataclass(frozen=True)
class Kind:
    """state(shape, width): bytes kept for a tensor whose elements have `width` bytes, 2 or 4.

    For a moment a step needs step[width] bytes an element of the largest tensor, and step_all copies of all tensors.
    """

    state: Callable[[Shape, int], int]
    step: Mapping[int, int] = field(default_factory=dict)
    step_all: int = 0


KINDS = {short(facts.cls): Kind(facts.bytes_of, facts.step, facts.step_all) for facts in OPTIMIZERS}
KINDS["sgd"] = Kind(lambda _shape, _width: 0)


def kind(name: str) -> Kind | None:
    """Return the optimizer of --optimizer_type, in any spelling that upstream takes; None for an unknown one."""
    return KINDS.get(short(name).removeprefix("paged").removesuffix("32bit") or "adamw")


def state_bytes(name: str, shapes: Iterable[Shape], width: int) -> int:
    """State of all tensors; an unknown optimizer counts as AdamW."""
    of = (kind(name) or KINDS["adamw"]).state
    return sum(of(shape, width) for shape in shapes)


def step_bytes(name: str, shapes: Iterable[Shape], width: int) -> float:
    """Return what a step needs for a moment beside gradients and state."""
    sizes = [prod(shape) for shape in shapes]
    if not sizes:
        return 0.0
    of = kind(name) or KINDS["adamw"]
    return of.step.get(width, 0) * max(sizes) + width * of.step_all * sum(sizes)


def stand_in_bytes(name: str, groups: Iterable[Iterable[Shape]], rounding: str) -> float:
    """Compute what a step of bf16 weights needs for a moment with --bf16_updates, a key of ROUNDING: a slice.

    groups: the shapes of each parameter group, in order.
    """
    return max((slice_bytes(name, some, rounding) for group in groups for some in slices(group, prod)), default=0.0)


def slice_bytes(name: str, shapes: list[Shape], rounding: str) -> float:
    """Compute the peak of one slice: the optimizer's step on fp32 copies, or rounding its state or its weights."""
    elements = sum(prod(shape) for shape in shapes)
    # State in the dtype of the weights is what grows with their width: 2 bytes an element kept, 4 in the stand-in.
    grows = state_bytes(name, shapes, 4) - state_bytes(name, shapes, 2)
    # Old remainders are added in fp32, and are gone then.
    remainders = 4 * max(prod(shape) for shape in shapes) if rounding == "kahan" else 0
    stepped = 8 * elements + grows + max(step_bytes(name, shapes, 4), remainders)
    # When all is rounded gradients are gone; weights and state have random bits, 2 bytes an element.
    of_state = ROUNDING["stochastic"] * min(grows / 2, PIECE)
    rounded = 6 * elements + 2 * grows + max(of_state, ROUNDING[rounding] * min(elements, PIECE))
    return max(stepped, rounded)
