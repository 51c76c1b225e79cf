"""Computes the memory of one process's gradients and optimizer: whole, divided by weight, or ZeRO's share."""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING

from extensions.flags import settings
from extensions.optimizers.facts import Shape
from extensions.optimizers.partition import IN_FLIGHT, MESSAGE, owners
from extensions.plan import optimizer_memory
from extensions.plan.trained import Model

if TYPE_CHECKING:
    from extensions.plan.vram import Setup

# DeepSpeed's default `reduce_bucket_size`; gradients are in the model's 16 bits.
ZERO_BUCKET = 500_000_000
STATE = "optimizer state"
STEP = "optimizer step, for a moment"
STAND_INS = "optimizer step on fp32 stand-ins, for a moment"
EXCHANGE = "weights on their way to other ranks"


def plain_parts(setup: Setup, training: list[Model]) -> dict[str, float]:
    """Gradients, DDP's copy of them, and the optimizer, without DeepSpeed."""
    trainable = sum(model.trainable for model in training)
    found = {
        "gradients": setup.width * trainable,
        "gradient buckets (DDP)": setup.width * trainable if setup.gradients_twice else 0,
    }
    groups = [model.trained for model in training]
    if not setup.sharded:
        return found | optimizer_parts(setup, groups)
    of_ranks = [optimizer_parts(setup, some) for some in shares(setup, groups)]
    sent = (IN_FLIGHT + 1) * min(MESSAGE, setup.width * trainable)
    return found | max(of_ranks, key=lambda parts: sum(parts.values())) | {EXCHANGE: sent}


def optimizer_parts(setup: Setup, groups: list[list[Shape]]) -> dict[str, float]:
    """Return the state of these weights, and what their step takes for a moment. groups: shapes, one list a model."""
    shapes = [shape for group in groups for shape in group]
    found = {STATE: float(sum(state_of(setup, shape) for shape in shapes))}
    if setup.rounding:
        return found | {STAND_INS: optimizer_memory.stand_in_bytes(setup.optimizer, groups, setup.rounding)}
    return found | {STEP: optimizer_memory.step_bytes(setup.optimizer, shapes, setup.width)}


def state_of(setup: Setup, shape: Shape) -> int:
    """Return bytes of one weight's state, with what --bf16_updates keeps in it."""
    kept = setup.width * prod(shape) if setup.rounding == settings.KAHAN else 0
    return optimizer_memory.state_bytes(setup.optimizer, [shape], setup.width) + kept


def shares(setup: Setup, groups: list[list[Shape]]) -> list[list[list[Shape]]]:
    """Divide the weights as `optimizers/sharding.py` does; groups of each rank."""
    places = [(number, shape) for number, group in enumerate(groups) for shape in group]
    found: list[list[list[Shape]]] = [[[] for _ in groups] for _ in range(setup.gpus)]
    owned = owners([state_of(setup, shape) for _, shape in places], setup.gpus)
    for (number, shape), owner in zip(places, owned, strict=True):
        found[owner][number].append(shape)
    return found


def zero_parts(setup: Setup, training: list[Model]) -> dict[str, float]:
    """ZeRO stage 2: gradients, state and fp32 master weights are divided between the processes.

    Each model is one parameter group, kept as one flat fp32 tensor a process; to step, a group's gradients
    are made flat and copied to fp32, after their norm was taken in fp64, tensor by tensor.
    """
    shares = [ceil(model.trainable / setup.gpus) for model in training]
    flat = [(share,) for share in shares]
    largest = max((prod(shape) for model in training for shape in model.trained), default=0)
    return {
        "fp32 master weights (ZeRO share)": 4 * sum(shares),
        # The sum so far, and this micro-step's.
        "gradients (ZeRO share)": 2 * sum(shares) * (2 if setup.ga > 1 else 1),
        "reduce bucket (ZeRO)": 2 * ZERO_BUCKET,
        "optimizer state (ZeRO share)": optimizer_memory.state_bytes(setup.optimizer, flat, 4),
        STEP: (2 + 4) * max(shares, default=0)
        + 8 * largest
        + optimizer_memory.step_bytes(setup.optimizer, flat[:1], 4),
    }
