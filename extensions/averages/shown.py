"""Shows an average in the models for a while: its weights are swapped in, and the trained ones back, bit for bit.

Piece by piece, so that no second copy of the weights is on a GPU. Meanwhile each rank keeps the trained weights of
its own share in memory, where an update has them staged; all ranks have the same ones, which is looked at, and where
they have not, each keeps all of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from extensions.averages.ranks import Ranks
from extensions.averages.tracks import Tracks


@contextmanager
def shown(tracks: Tracks, name: str, ranks: Ranks) -> Iterator[None]:
    """Let the models have the average of that name inside of the block. Every process enters it, and leaves it."""
    tracks.settle()
    tracks.before_step()
    with torch.no_grad():
        alike = ranks.alike(tracks.pieces)
        tracks.copy()
        tracks.before_step()
        others = {} if alike else {
            number: piece.view().to("cpu", copy=True)
            for number, piece in enumerate(tracks.pieces)
            if piece.owner != ranks.me
        }  # fmt: skip
        for piece, value in ranks.values(tracks, name):
            piece.view().copy_(value)
    try:
        yield
    finally:
        with torch.no_grad():
            put_back(tracks, ranks, None if alike else others)


def put_back(tracks: Tracks, ranks: Ranks, others: dict[int, torch.Tensor] | None) -> None:
    """Give the models the trained weights: each share from its rank, or the `others` from this one's memory."""
    if tracks.copied is not None:
        tracks.copied.synchronize()
    staged = iter(tracks.staged)
    for number, piece in enumerate(tracks.pieces):
        view = piece.view()
        if piece.owner == ranks.me:
            view.copy_(next(staged))
        elif others is not None:
            view.copy_(others[number])
        if others is None:
            ranks.broadcast(view, piece.owner)
