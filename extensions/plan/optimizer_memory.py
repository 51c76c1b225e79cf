"""Counts the bytes that an optimizer keeps for its tensors, and needs for a moment in its step.

State is extensions/optimizers/facts.py's. What a step needs for a moment is what torch's profiler counts on a CPU
(the tests count again), where the libraries run the same operators as on a GPU. bitsandbytes does not: its GPU
kernels work in place. torch's `AdamW` is counted in its foreach form, the default on a GPU.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from extensions.optimizers.facts import OPTIMIZERS, Shape, short, slices

# What optimizers/rounding.py takes, bytes an element: random bits, sums, masks, bf16 numbers; those of a remainder.
ROUNDING = {"stochastic": 13, "kahan": 19}


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
    """Compute the peak of one slice: the optimizer's step on fp32 copies, or rounding the largest of them."""
    # State in the dtype of the weights is what grows with their width: 2 bytes an element kept, 4 in the stand-in.
    grows = {shape: state_bytes(name, [shape], 4) - state_bytes(name, [shape], 2) for shape in set(shapes)}
    wide = sum(8 * prod(shape) + 2 * grows[shape] for shape in shapes)  # weight and gradient, state
    # When a tensor is rounded, its gradient is gone.
    taken_back = max((ROUNDING[rounding] - 4) * prod(shape) + grows[shape] for shape in shapes)
    return wide + max(step_bytes(name, shapes, 4), taken_back)
