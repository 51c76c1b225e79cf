"""Keeps each weight's optimizer state on one rank, and steps it there: ZeRO's stage 1 by whole weights, under DDP.

Rajbhandari et al., "ZeRO" (2020) divide the state; here a weight is never cut, so that an optimizer that looks at its
shape steps as it always does, and every bit is that of the step on all ranks. DDP has averaged the gradients; each
rank hides those of other ranks' weights from the optimizer, which passes over what has none, and afterwards sends
the weights that it has stepped to all others. The optimizer keeps all weights in its groups: numbers, rates and
counters are as without.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import torch
import torch.distributed as dist

from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers.partition import IN_FLIGHT, MESSAGE, owners


class Shards:
    """Wraps `optimizer.step`. kept_beside: bytes an element that a plugin keeps in the state, too.

    The weights may be cast after this; who owns which is settled at the first question. ValueError for an optimizer
    that the table does not have: one weight may act on another.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, kept_beside: int = 0):
        facts = optimizer_facts.of_optimizer(optimizer)
        if facts is None:
            raise ValueError(f"{type(optimizer).__module__}.{type(optimizer).__name__} is not in the table")
        self.optimizer, self.facts, self.kept_beside = optimizer, facts, kept_beside
        several = dist.is_available() and dist.is_initialized()
        self.me, self.ranks = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)
        optimizer.shards = self

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All that train, in the optimizer's order: their numbers in its state."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    @cached_property
    def costs(self) -> list[int]:
        """Return bytes of state that each weight will have."""
        return [
            self.facts.bytes_of(tuple(each.shape), each.element_size()) + self.kept_beside * each.numel()
            for each in self.parameters
        ]

    @cached_property
    def owners(self) -> list[int]:
        """Return the rank of each weight."""
        return owners(self.costs, self.ranks)

    def is_mine(self, number: int) -> bool:
        """Tell whether this rank keeps the state of the weight of this number."""
        return self.owners[number] == self.me

    def own_bytes(self) -> int:
        """Return bytes of the state that this rank will have."""
        return sum(cost for cost, owner in zip(self.costs, self.owners, strict=True) if owner == self.me)

    def step(self, inner: Callable[..., object], *arguments, **keywords):
        """Step this rank's weights by `inner` and exchange them; returns what it returns."""
        if self.ranks == 1:
            return inner(*arguments, **keywords)
        pairs = zip(self.parameters, self.owners, strict=True)
        hidden = [(each, each.grad) for each, owner in pairs if owner != self.me]
        for parameter, _ in hidden:
            parameter.grad = None
        try:
            result = inner(*arguments, **keywords)
        finally:  # they are DDP's own pieces of its buckets
            for parameter, gradient in hidden:
                parameter.grad = gradient
        self.exchange()
        return result

    @torch.no_grad()
    def exchange(self) -> None:
        """Send each rank's weights to the others, a few messages at a time."""
        pending: deque[Message] = deque()
        parameters = self.parameters
        for owner in range(self.ranks):
            weights = [each for each, whose in zip(parameters, self.owners, strict=True) if whose == owner]
            for some in messages(weights):
                pending.append(Message(some, owner, self.me))
                if len(pending) > IN_FLIGHT:
                    pending.popleft().end()
        for message in pending:
            message.end()


def messages(weights: Sequence[torch.Tensor], most: int = MESSAGE) -> Iterator[list[torch.Tensor]]:
    """Yield weights that go together, in order."""
    return optimizer_facts.slices(weights, lambda each: each.nbytes, most)


class Message:
    """Some weights of one rank on their way to all others, as bytes."""

    def __init__(self, weights: list[torch.Tensor], owner: int, me: int):
        self.weights, self.is_own = weights, owner == me
        self.is_whole = len(weights) == 1 and weights[0].is_contiguous()
        self.buffer = self._buffer()
        self.work = dist.broadcast(self.buffer, owner, async_op=True)

    def _buffer(self) -> torch.Tensor:
        if self.is_whole:
            return as_bytes(self.weights[0])
        if self.is_own:
            return torch.cat([as_bytes(each) for each in self.weights])
        size = sum(each.nbytes for each in self.weights)
        return torch.empty(size, dtype=torch.uint8, device=self.weights[0].device)

    def end(self) -> None:
        """Wait until it has arrived, and put the weights in their places."""
        self.work.wait()
        if self.is_whole or self.is_own:
            return
        pieces = self.buffer.split([each.nbytes for each in self.weights])
        for weight, piece in zip(self.weights, pieces, strict=True):
            weight.copy_(aligned(piece).view(weight.dtype).view(weight.shape))


def as_bytes(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight's numbers, uint8 (bytes,): its own memory where that is contiguous."""
    return weight.detach().contiguous().view(-1).view(torch.uint8)


def aligned(piece: torch.Tensor) -> torch.Tensor:
    """Return bytes that begin where a number of up to 8 bytes may."""
    return piece if piece.storage_offset() % 8 == 0 else piece.clone()


def of(optimizer) -> Shards | None:
    """Return how an optimizer, or the one that accelerate has wrapped, is divided; None where it is whole."""
    return getattr(getattr(optimizer, "optimizer", optimizer), "shards", None)
