"""Lets the ranks of a machine hand each other pieces of an average: one piece at a time, all ranks together."""

from collections.abc import Iterator

import torch

from extensions.averages.pieces import Piece
from extensions.averages.tracks import Tracks
from extensions.base.processes import from_all


class Ranks:
    """The ranks of this machine. Every process of the run makes one at the same time.

    me: this process among them; count: how many; first: the process that is their first; writes: whether they are
    those that write files, the machine of process 0.
    """

    def __init__(self, accelerator):
        self.device = accelerator.device
        self.me = accelerator.local_process_index
        self.first = accelerator.process_index - self.me
        machines = from_all(accelerator, self.first)
        self.count = machines.count(self.first)
        self.writes = self.first == 0
        self.group = None
        for first in sorted(set(machines)) if len(set(machines)) > 1 else ():
            group = torch.distributed.new_group(range(first, first + machines.count(first)))
            self.group = group if first == self.first else self.group

    def broadcast(self, tensor: torch.Tensor, owner: int) -> torch.Tensor:
        """Hand the owner's tensor to all; the others give one of its size and dtype to be written to."""
        if self.count > 1:
            torch.distributed.broadcast(tensor, self.first + owner, group=self.group)
        return tensor

    def values(self, tracks: Tracks, name: str) -> Iterator[tuple[Piece, torch.Tensor]]:
        """Yield every piece of an average, in fp32 on this rank's device. All ranks go through it together."""
        tracks.settle()
        index = 0
        for piece in tracks.pieces:
            if piece.owner == self.me:
                value = tracks.value(name, index).to(self.device)
                index += 1
            else:
                value = torch.empty(piece.place.count, device=self.device)
            yield piece, self.broadcast(value, piece.owner)

    def alike(self, pieces: list[Piece]) -> bool:
        """Tell whether the weights have the same bits on all ranks, by the sum of each piece's."""
        if self.count == 1:
            return True
        kinds = {2: torch.int16, 4: torch.int32}
        sums = torch.stack([
            piece.view().view(kinds[piece.parameter.element_size()]).sum(dtype=torch.int64) for piece in pieces
        ])  # fmt: skip
        least, most = sums.clone(), sums
        torch.distributed.all_reduce(least, torch.distributed.ReduceOp.MIN, group=self.group)
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX, group=self.group)
        return bool(torch.equal(least, most))
