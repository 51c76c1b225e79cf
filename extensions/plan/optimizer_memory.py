"""Bytes that an optimizer keeps for its tensors, and needs for a moment in its step.

State is extensions/optimizers/facts.py's. What a step needs for a moment is what torch's profiler counts on a CPU
(the tests count again), where the libraries run the same operators as on a GPU. bitsandbytes does not: its GPU
kernels work in place. torch's `AdamW` is counted in its foreach form, the default on a GPU.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod

from extensions.optimizers.facts import OPTIMIZERS, Shape, slices

# What optimizers/rounding.py takes, bytes an element: random bits, sums, masks, bf16 numbers; those of a remainder.
ROUNDING = {"stochastic": 13, "kahan": 19}


@dataclass(frozen=True)
class Kind:
    """state(shape, width): bytes kept for a tensor whose elements have `width` bytes, 2 or 4.

    For a moment a step needs step[width] bytes an element of the largest tensor, and step_all copies of all tensors.
    """

    state: Callable[[Shape, int], int]
    step: dict[int, int] = field(default_factory=dict)
    step_all: int = 0


STEPS = {
    "adamw": {"step_all": 1},
    "adamw4bit": {"step": {2: 58, 4: 54}},
    "lion": {"step": {2: 5, 4: 9}},
    "cautiouslion": {"step": {2: 5, 4: 9}},
    # The update of the tensor before is still there.
    "adafactor": {"step": {2: 20, 4: 12}},
    "came": {"step": {2: 10, 4: 12}},
}


def short(name: str) -> str:
    """The class, in lower case, of a name with or without dots."""
    return name.rpartition(".")[2].lower()


KINDS = {short(facts.cls): Kind(facts.bytes_of, **STEPS.get(short(facts.cls), {})) for facts in OPTIMIZERS}
KINDS["sgd"] = Kind(lambda _shape, _width: 0)


def kind(name: str) -> Kind | None:
    """The optimizer of --optimizer_type, in any spelling that upstream takes; None for an unknown one."""
    return KINDS.get(short(name).removeprefix("paged").removesuffix("32bit") or "adamw")


def state_bytes(name: str, shapes: Iterable[Shape], width: int) -> int:
    """State of all tensors; an unknown optimizer counts as AdamW."""
    of = (kind(name) or KINDS["adamw"]).state
    return sum(of(shape, width) for shape in shapes)


def step_bytes(name: str, shapes: Iterable[Shape], width: int) -> float:
    """What a step needs for a moment beside gradients and state."""
    sizes = [prod(shape) for shape in shapes]
    if not sizes:
        return 0.0
    of = kind(name) or KINDS["adamw"]
    return of.step.get(width, 0) * max(sizes) + width * of.step_all * sum(sizes)


def stand_in_bytes(name: str, groups: Iterable[Iterable[Shape]], rounding: str) -> float:
    """What a step of bf16 weights needs for a moment with --bf16_updates, a key of ROUNDING: its largest slice.

    groups: the shapes of each parameter group, in order.
    """
    return max((slice_bytes(name, some, rounding) for group in groups for some in slices(group, prod)), default=0.0)


def slice_bytes(name: str, shapes: list[Shape], rounding: str) -> float:
    """The peak of one slice: the optimizer's step on fp32 stand-ins, or rounding the largest of them after it."""
    # State in the dtype of the weights is what grows with their width: 2 bytes an element kept, 4 in the stand-in.
    grows = {shape: state_bytes(name, [shape], 4) - state_bytes(name, [shape], 2) for shape in set(shapes)}
    wide = sum(8 * prod(shape) + 2 * grows[shape] for shape in shapes)  # weight and gradient, state
    # When a tensor is rounded, its gradient is gone.
    taken_back = max((ROUNDING[rounding] - 4) * prod(shape) + grows[shape] for shape in shapes)
    return wide + max(step_bytes(name, shapes, 4), taken_back)
