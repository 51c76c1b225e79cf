"""Divides the trained weights among the ranks of a machine: pieces of tensors, to each rank as many elements.

A piece is named as the checkpoint has it, so that what one rank has written any other number of ranks reads, and a
file can be made of it without a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from extensions.base.errors import UserError

if TYPE_CHECKING:
    import torch

    from extensions.model.models import Models

LARGEST = 1 << 22  # elements of a piece: what is in memory twice, or on its way between ranks, at once
MARK = "|"  # between the parts of a piece's name; no tensor of a published model has one in its own


@dataclass(frozen=True)
class Place:
    """Where elements stand in a checkpoint: `count` of the tensor `key`, flattened, from `first` on."""

    key: str
    first: int
    count: int

    @property
    def name(self) -> str:
        return MARK.join((self.key, str(self.first), str(self.count)))

    @classmethod
    def of_name(cls, name: str) -> Place:
        """Read a name. ValueError for one that is none."""
        key, first, count = name.split(MARK)
        return cls(key, int(first), int(count))

    def common(self, other: Place) -> tuple[int, int]:
        """Return (first, end) of the elements that two places share; first is not before end where there are none."""
        if self.key != other.key:
            return 0, 0
        return max(self.first, other.first), min(self.first + self.count, other.first + other.count)

    def part(self, tensor: torch.Tensor, first: int, end: int) -> torch.Tensor:
        """Return these elements of this place's tensor."""
        return tensor[first - self.first : end - self.first]


@dataclass(frozen=True)
class Piece:
    """A place, whose elements are in memory. offset: of the parameter's first; owner: the rank that averages it."""

    place: Place
    parameter: torch.nn.Parameter
    offset: int
    owner: int

    def view(self) -> torch.Tensor:
        """Return the elements themselves, flat."""
        return self.parameter.detach().view(-1)[self.offset : self.offset + self.place.count]


def trained(models: Models) -> list[tuple[str, int, torch.nn.Parameter]]:
    """Return (key, first element, parameter) of what trains. UserError for weights that do not lie in a row."""
    from extensions.model.untrained import placed

    found = [each for each in placed(models) if each[2].requires_grad]
    if odd := next((key for key, _, parameter in found if not parameter.is_contiguous()), None):
        raise UserError(
            f"{odd} does not lie in memory as in a checkpoint (channels last?); drop that flag, or the plugin"
        )
    return found


def divided(parameters: Iterable[tuple[str, int, torch.nn.Parameter]], ranks: int) -> list[Piece]:
    """Return all pieces in order, each with its owner: the first rank has the first of the elements, and so on."""
    found = list(parameters)
    total = sum(parameter.numel() for _, _, parameter in found)
    ends = [total * (rank + 1) // ranks for rank in range(ranks)]
    return list(_cut(found, ends))


def _cut(found: list[tuple[str, int, torch.nn.Parameter]], ends: list[int]) -> Iterator[Piece]:
    done = owner = 0
    for key, first, parameter in found:
        offset, size = 0, parameter.numel()
        while offset < size:
            while done == ends[owner]:
                owner += 1
            count = min(LARGEST, size - offset, ends[owner] - done)
            yield Piece(Place(key, first + offset, count), parameter, offset, owner)
            offset, done = offset + count, done + count
