"""Bytes that an optimizer keeps for its tensors, and needs for a moment in its step.

State is extensions/optimizer_facts.py's. What a step needs is read off each library's source: transformers'
`Adafactor`, pytorch_optimizer's `CAME` and `Lion`, torch's `AdamW` (its foreach form, the default on a GPU, makes
one more copy of all parameters for a moment); the 8-bit and 4-bit ones need nothing worth counting.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

from extensions.optimizer_facts import OPTIMIZERS, Shape


@dataclass(frozen=True)
class Kind:
    """state(shape, width): bytes kept for a tensor whose elements have `width` bytes.

    For a moment a step needs step_fp32 fp32 copies and step_copies copies in the weights' own type of the largest
    tensor, and step_all copies of all parameters.
    """

    state: Callable[[Shape, int], int]
    step_fp32: int = 0
    step_copies: int = 0
    step_all: int = 0


STEPS = {
    "adamw": {"step_all": 1},
    "lion": {"step_copies": 3},
    "cautiouslion": {"step_copies": 3},
    "adafactor": {"step_fp32": 4},
    "came": {"step_copies": 3},
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
    return (4 * of.step_fp32 + width * of.step_copies) * max(sizes) + width * of.step_all * sum(sizes)
