"""Keeps the averages of some moments of a run on disk, for lengths that are asked for after it.

    <output>/ema/
      launches.json          optimizer steps at which the run was begun, or gone on with, in order
      began00000000/         the weights that the averages began with, which all snapshots of them are measured from
      step00012000/          a snapshot: the differences of both averages from those, as fp16
        described.json       what it is, and a checksum of each piece
        share-0.safetensors  … one a rank

A snapshot of before the run went back to an earlier state is of another run: the launches tell which are. Names are
given when everything is written, as with training states.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from extensions.averages import files, profiles
from extensions.averages.ranks import Ranks
from extensions.averages.shares import DESCRIBED, Kept, checksum, read
from extensions.averages.tracks import ANCHOR, Tracks
from extensions.base.errors import UserError
from extensions.base.processes import from_all
from extensions.base.saving import require_room, write_text
from extensions.base.sealed import sealed

FOLDER = "ema"
LAUNCHES = "launches.json"
DTYPE = torch.float16  # of the differences, each piece's over its largest: a step is 1/2048 of a difference
LENGTHS = [profiles.Power(length).name for length in profiles.LENGTHS]


def folder_of(output: Path) -> Path:
    """Return where the snapshots of a run lie. output: the folder of its checkpoints."""
    return output / FOLDER


def spacing(begin: int, end: int, count: int, every: int) -> int:
    """Return the optimizer steps between `count` snapshots from `begin` to `end`, in whole updates."""
    return max(every, -(-(end - begin) // count // every) * every)


def marks(space: int, until: int) -> range:
    """Return the times at which a snapshot is due, in optimizer steps since the averages began."""
    return range(space, until + 1, space)


def bytes_of(elements: int) -> int:
    """Return what a snapshot of so many trained elements takes, the shares of all ranks together."""
    return elements * DTYPE.itemsize * len(LENGTHS)


def begin_launch(folder: Path, step: int) -> None:
    """Note that a launch goes on at this optimizer step: what was kept of later ones is not of this run."""
    write_text(folder / LAUNCHES, json.dumps([*launches(folder), step]))


def launches(folder: Path) -> list[int]:
    """Return the steps at which the run was begun or gone on with. UserError for a file that is damaged."""
    path = folder / LAUNCHES
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_bytes())
        if not all(type(each) is int for each in found):
            raise ValueError("no steps")
    except (ValueError, TypeError, OSError, RecursionError):
        raise UserError(f"{path} is damaged; restore it, or remove {folder} to begin with snapshots anew") from None
    return found


def began_at(folder: Path, step: int) -> Path:
    """Return where the weights lie that averages of a run began with at this step."""
    return folder / f"began{step:08d}"


class Keeper:
    """Writes shares of this rank; all processes of the run call it together."""

    def __init__(self, folder: Path, ranks: Ranks, accelerator):
        self.folder, self.ranks, self.accelerator = folder, ranks, accelerator
        self.measured = False  # what the averages are measured from is there

    def snapshot(self, tracks: Tracks, every: int) -> None:
        """Keep the averages of this moment, and what they are measured from, if that is not there yet."""
        tracks.settle()
        began = began_at(self.folder, tracks.began)
        if not self.measured and not all(from_all(self.accelerator, self.is_there(began, tracks))):
            self.write(began, {ANCHOR: tracks.anchors}, tracks, every)
        self.measured = True
        powers = {name: tracks.differences[name] for name in LENGTHS}
        self.write(self.folder / f"step{tracks.updated:08d}", powers, tracks, every)

    def is_there(self, began: Path, tracks: Tracks) -> bool:
        """Tell whether a folder has this rank's anchors: those of a run that began anew are others."""
        if not self.ranks.writes:
            return True
        try:
            facts = read(began).facts
        except UserError:
            return False
        sums = {own: each for entry in facts["files"].values() for own, each in entry["pieces"].items()}
        return all(
            sums.get(f"{ANCHOR}@{piece.place.name}") == checksum(anchor)
            for piece, anchor in zip(tracks.own, tracks.anchors, strict=True)
        )

    def write(self, final: Path, content: dict[str, list[torch.Tensor]], tracks: Tracks, every: int) -> None:
        """Write the shares of some tensors, one a piece. UserError, on every process, where the disk does not."""
        temporary = final.with_name(f".{final.name}.part")
        layout = {
            f"{what}@{piece.place.name}": tensor if what == ANCHOR else tensor.to("meta", DTYPE)
            for what, tensors in content.items()
            for piece, tensor in zip(tracks.own, tensors, strict=True)
        }
        needed = sum(tensor.nbytes for tensor in layout.values()) if self.ranks.writes else 0
        needed = sum(from_all(self.accelerator, needed))
        self.all(self.begun, temporary, needed, only_main=True)
        made = self.all(self.share, temporary, layout, content, tracks) if self.ranks.writes else self.all(dict)
        facts = {
            "version": 1, **tracks.facts(), "every": every, "files": {k: v for each in made for k, v in each.items()}
        }  # fmt: skip
        self.all(self.named, temporary, final, facts, only_main=True)

    def all(self, act: Callable, *arguments, only_main: bool = False) -> list:
        """Let every process act, or process 0 alone; what each returns. UserError everywhere where one fails."""
        value, reason = None, None
        try:
            value = act(*arguments) if not only_main or self.accelerator.is_main_process else None
        except (OSError, UserError) as error:
            reason = str(error)
        said = from_all(self.accelerator, (value, reason))
        if reason := next((reason for _, reason in said if reason), None):
            raise UserError(f"no snapshot of the averages: {reason}; make room, or keep fewer (--ema_snapshots)")
        return [value for value, _ in said]

    def begun(self, temporary: Path, needed: int) -> None:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        require_room(temporary, needed, "a snapshot of the averages")

    def share(self, temporary: Path, layout, kept, tracks: Tracks) -> dict[str, dict]:
        """Write this rank's file; its entry in the description."""
        name, sums, scales = f"share-{self.ranks.me}.safetensors", {}, {}

        def tensors():
            for what, all_pieces in kept.items():
                for piece, tensor in zip(tracks.own, all_pieces, strict=True):
                    own, content = f"{what}@{piece.place.name}", tensor
                    if what != ANCHOR:
                        scales[own] = float(tensor.abs().max()) or 1.0
                        content = (tensor / scales[own]).to(DTYPE)
                    sums[own] = checksum(content)
                    yield own, content

        path = temporary / name
        files.write_flat(path, {own: (each.dtype, each.numel()) for own, each in layout.items()}, tensors())
        return {name: {"bytes": path.stat().st_size, "pieces": sums, "scales": scales}}

    def named(self, temporary: Path, final: Path, facts: dict) -> None:
        """Describe what was written, and give it its name."""
        facts["launch"] = len(launches(self.folder))
        write_text(temporary / DESCRIBED, json.dumps(sealed(facts)))
        shutil.rmtree(final, ignore_errors=True)
        os.rename(temporary, final)


def usable(folder: Path) -> list[Kept]:
    """Return the snapshots that are of one run, the last one's, in order. UserError for one that is damaged."""
    found = [read(path) for path in sorted(folder.glob("step*"))]
    known = launches(folder)
    kept = [each for each in found if all(each.step <= step for step in known[each.facts["launch"] :])]
    if not kept:
        return []
    newest = max(kept, key=lambda each: (each.facts["launch"], each.step))
    same = ("began", "begins", "trained")
    return [each for each in kept if all(each.facts[name] == newest.facts[name] for name in same)]
