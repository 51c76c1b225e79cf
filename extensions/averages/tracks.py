"""Averages this rank's share of the trained weights, in memory, beside the training.

An average is kept as its difference, in fp32, from the weights that it began with: those are kept once, as they are.
An fp32 average of its own would stand still as soon as a step of it is below its rounding; a difference is some
hundred times smaller than a weight, and so is what is rounded away of it.

An update copies the share to memory: on a GPU by a stream of its own, into page-locked memory, while the next passes
run; the next optimizer step waits until the copy is made (`before_step`). A thread averages then. Each element goes
through the same three roundings wherever it lies, so that ranks of any number come to the same bits.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch

from extensions.averages.pieces import Piece, Place
from extensions.averages.profiles import Profile

ANCHOR = "anchor"  # the weights that an average began with
BYTES = 4  # of an element of an average


class Tracks:
    """The averages of one rank.

    pieces: of all ranks; profiles: to be tracked; begin: the optimizer step at which they begin, with the weights as
    they are.
    """

    def __init__(self, pieces: Sequence[Piece], rank: int, profiles: Sequence[Profile], begin: int):
        self.pieces, self.rank = list(pieces), rank
        self.profiles = {profile.name: profile for profile in profiles}
        self.own = [piece for piece in self.pieces if piece.owner == rank]
        self.begins = dict.fromkeys(self.profiles, begin)
        self.began = self.updated = begin  # began: with these anchors
        self.staged = [memory_for(piece) for piece in self.own]
        self.anchors = [piece.view().to("cpu", copy=True) for piece in self.own]
        self.differences = {name: [torch.zeros(piece.place.count) for piece in self.own] for name in self.profiles}
        self.thread: threading.Thread | None = None
        self.failed: BaseException | None = None
        self.copied: torch.cuda.Event | None = None
        self.streams: dict[torch.device, torch.cuda.Stream] = {}

    def update(self, step: int, at_once: bool = False) -> None:
        """Take the weights of this optimizer step into the averages.

        at_once: the next optimizer step does not tell when it begins (`before_step`); later work of the GPU waits.
        """
        self.settle()
        keep = {name: each.keep(self.updated - self.begins[name], step - self.begins[name])
                for name, each in self.profiles.items()}  # fmt: skip
        self.copy()
        if at_once:
            self.before_step()
        self.updated = step
        self.thread = threading.Thread(target=self._average, args=(keep, self.copied), daemon=True)
        self.thread.start()

    def copy(self) -> None:
        """Copy the share to memory; of a GPU's as soon as what the GPU has to do before is done."""
        self.copied = None
        devices = {piece.parameter.device for piece in self.own if piece.parameter.is_cuda}
        for device in devices:  # one
            stream = self.streams.setdefault(device, torch.cuda.Stream(device))
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                self._copy()
            self.copied = torch.cuda.Event()
            self.copied.record(stream)
        if not devices:
            self._copy()

    def _copy(self) -> None:
        for piece, staged in zip(self.own, self.staged, strict=True):
            staged.copy_(piece.view(), non_blocking=True)

    def before_step(self) -> None:
        """Let what the GPU does from now on wait until the weights of the last update are copied."""
        if self.copied is not None:
            torch.cuda.current_stream().wait_event(self.copied)

    def _average(self, keep: dict[str, float], copied) -> None:
        try:
            with torch.no_grad():
                if copied is not None:
                    copied.synchronize()
                self._add(keep)
        except BaseException as error:  # told by whoever waits for the thread
            self.failed = error

    def _add(self, keep: dict[str, float]) -> None:
        for index, (anchor, staged) in enumerate(zip(self.anchors, self.staged, strict=True)):
            moved = staged.float() - anchor.float()
            for name, factor in keep.items():
                difference = self.differences[name][index]
                difference.add_((moved - difference).mul_(1 - factor))

    def settle(self) -> None:
        """Wait for the update under way. Raises what went wrong in it."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.failed is not None:
            error, self.failed = self.failed, None
            raise error

    def value(self, name: str, index: int) -> torch.Tensor:
        """Return an average of this rank's piece of that number, in fp32."""
        return self.anchors[index].float() + self.differences[name][index]

    def values(self, name: str) -> Iterator[tuple[Place, torch.Tensor]]:
        """Yield each of this rank's pieces of an average."""
        self.settle()
        for index, piece in enumerate(self.own):
            yield piece.place, self.value(name, index)

    # --- in a training state ------------------------------------------------------------------

    def kept(self) -> dict[str, list[torch.Tensor]]:
        """Return {what: its tensors, one a piece}: the anchors and each average's differences."""
        return {ANCHOR: self.anchors, **self.differences}

    def facts(self) -> dict:
        """Return what a state says of the averages beside their tensors."""
        return {"updated": self.updated, "began": self.began, "begins": self.begins, "trained": of(self.pieces)}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return this rank's tensors of a state by name."""
        self.settle()
        return {
            f"{what}@{piece.place.name}": tensor
            for what, tensors in self.kept().items()
            for piece, tensor in zip(self.own, tensors, strict=True)
        }


def memory_for(piece: Piece) -> torch.Tensor:
    """Return memory for a piece's weights; page-locked for a GPU, which else would wait while they are copied."""
    parameter = piece.parameter
    if parameter.is_cuda:
        with suppress(RuntimeError):  # the system locks no more: slower, and as right
            return torch.empty(piece.place.count, dtype=parameter.dtype, pin_memory=True)
    return torch.empty(piece.place.count, dtype=parameter.dtype)


def of(pieces: Sequence[Piece]) -> str:
    """Return a digest of what is averaged, the same for any number of ranks."""
    sizes: dict[str, int] = {}
    for piece in pieces:
        sizes[piece.place.key] = sizes.get(piece.place.key, 0) + piece.place.count
    return hashlib.sha256(repr(sorted(sizes.items())).encode()).hexdigest()
