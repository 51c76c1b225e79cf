"""Takes the averages of a training state, which any number of ranks may have written, into those of this rank."""

from collections.abc import Iterator

import torch

from extensions.averages.pieces import Place
from extensions.averages.tracks import ANCHOR, Tracks, of


class Resumed:
    """Fills tracks that were just made with what a state has of them.

    facts: of the state (`Tracks.facts`). Averages that it has not, or has of other weights, stay as they began.
    """

    def __init__(self, tracks: Tracks, facts: dict):
        self.tracks, self.facts = tracks, facts
        self.fits = facts["trained"] == of(tracks.pieces)
        self.names = [name for name in tracks.profiles if name in facts["begins"]] if self.fits else []
        self.own: dict[str, list[tuple[int, Place]]] = {}
        for index, piece in enumerate(tracks.own):
            self.own.setdefault(piece.place.key, []).append((index, piece.place))
        self.done = dict.fromkeys([ANCHOR, *self.names] if self.names else [], 0)

    def parts(self, name: str) -> Iterator[tuple[str, int, int, int, Place, Place]]:
        """Yield (what, number of this rank's piece, first, end, its place, the tensor's) of a tensor's name."""
        what, _, rest = name.partition("@")
        place = Place.of_name(rest)
        for index, mine in self.own.get(place.key, ()) if what in self.done else ():
            first, end = mine.common(place)
            if first < end:
                yield what, index, first, end, mine, place

    def wants(self, name: str) -> bool:
        """Tell whether this rank needs some of the tensor of this name."""
        return next(self.parts(name), None) is not None

    def take(self, name: str, tensor: torch.Tensor) -> None:
        """Take over what this rank needs of a tensor. ValueError for one of another dtype."""
        for what, index, first, end, mine, place in self.parts(name):
            target = self.tracks.kept()[what][index]
            if target.dtype != tensor.dtype:
                raise ValueError(f"{name} is {tensor.dtype}, not {target.dtype}")
            mine.part(target, first, end).copy_(place.part(tensor, first, end))
            self.done[what] += end - first

    def finish(self) -> None:
        """Set where the averages stand. ValueError where the state has not the whole of one.

        An average that begins now does so with the weights as they are, whose difference from the anchors is its.
        """
        whole = sum(piece.place.count for piece in self.tracks.own)
        if lacking := [what for what, count in self.done.items() if count != whole]:
            raise ValueError(f"it has not all of {lacking[0]}")
        if not self.names:
            return
        tracks, now = self.tracks, self.tracks.began
        tracks.began, tracks.updated = self.facts["began"], self.facts["updated"]
        for name in tracks.profiles:
            if name in self.names:
                tracks.begins[name] = self.facts["begins"][name]
                continue
            tracks.begins[name] = now
            for piece, anchor, difference in zip(tracks.own, tracks.anchors, tracks.differences[name], strict=True):
                difference.copy_(piece.view().float()).sub_(anchor.float())
